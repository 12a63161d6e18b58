// Calls into the Rust crate from C++: views in, owned results out, failures as Error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <quiver/error.hpp>

#include "core/text/quiver_text.h"

namespace quiver::text {

inline const std::uint8_t* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

inline qt_text view_of(std::string_view text) noexcept {
  return {bytes_of(text), text.size()};
}

/// Copies a result of the crate and frees it.
inline std::string take(qt_bytes bytes) {
  const std::unique_ptr<qt_bytes, void (*)(qt_bytes*)> owner(
      &bytes, [](qt_bytes* result) { qt_bytes_free(*result); });
  return bytes.size == 0 ? std::string()
                         : std::string(reinterpret_cast<const char*>(bytes.data), bytes.size);
}

/// Copies ids of the crate and frees them. Ids are below 2^22, the crate's limit.
inline std::vector<std::int32_t> take(qt_ids ids) {
  const std::unique_ptr<qt_ids, void (*)(qt_ids*)> owner(
      &ids, [](qt_ids* result) { qt_ids_free(*result); });
  return ids.size == 0 ? std::vector<std::int32_t>()
                       : std::vector<std::int32_t>(ids.data, ids.data + ids.size);
}

/// Throws what `status` says, with `what` (may be empty) before the crate's words. The crate's
/// limits lie far above what sane input needs, so reaching one means that the input is bad, not
/// that the machine is too small.
inline void check(qt_status status, qt_bytes error, const std::string& what,
                  const std::string& where = {}, const std::string& hint = {}) {
  if (status == QT_OK) return;
  std::string message = take(error);
  if (!what.empty()) message = what + ": " + message;
  switch (status) {
    case QT_BAD_INPUT:
    case QT_LIMIT: throw Error(ErrorCode::bad_input, std::move(message), where, hint);
    case QT_RESOURCES: throw Error(ErrorCode::resources, std::move(message), where);
    default: throw Error(ErrorCode::internal, std::move(message), where);
  }
}

}  // namespace quiver::text
