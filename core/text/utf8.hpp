// UTF-8 that may be broken: checking, repairing, and repairing piece by piece.
#pragma once

#include <string>
#include <string_view>

#include "core/text/export.hpp"

namespace quiver::text {

/// What stands for bytes that are not UTF-8: U+FFFD.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// True when all of `bytes` is well-formed UTF-8. [any-thread]
QUIVER_TEXT_API bool is_utf8(std::string_view bytes) noexcept;

/// `bytes` with every maximal ill-formed part replaced by one U+FFFD, as the Unicode standard
/// recommends: for showing the bytes of a token. [any-thread]
QUIVER_TEXT_API std::string utf8_lossy(std::string_view bytes);

/// `utf8_lossy` on a stream of bytes: holds back the bytes of an unfinished code point until the
/// next bytes decide about them. Copies go on independently. [one-call-at-a-time]
class QUIVER_TEXT_API Utf8Stream {
 public:
  /// Appends to `out` what `bytes` complete.
  void feed(std::string_view bytes, std::string& out);

  /// Appends the end of the stream: one U+FFFD if a code point is unfinished.
  void finish(std::string& out);

 private:
  std::string pending_;  ///< At most three bytes that may become a code point.
};

}  // namespace quiver::text
