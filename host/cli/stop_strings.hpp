// Texts that end a generation: found wherever they begin, and never shown, not even in part.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// Text goes in as it is decoded and comes out as soon as it cannot be part of a stop string any
/// more. Of several the one that is complete first ends the text. A plain value.
class StopStrings {
 public:
  /// Throws Error(usage) for an empty one.
  explicit StopStrings(std::vector<std::string> stops);

  /// Takes more text and gives what may be shown now. Nothing comes out once a stop was found.
  std::string feed(std::string_view text);

  /// What was held back, when the text ended without a stop.
  std::string finish();

  bool is_found() const { return is_found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool is_found_ = false;
};

}  // namespace quiver::cli
