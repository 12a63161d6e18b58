// Reading of little-endian numbers and strings, one after the other, from bytes that may end early.
#pragma once

#include <quiver/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// A position in a file image. Every read checks that the bytes are there and throws
/// Error(bad_input) naming the file and the offset where not. [one-call-at-a-time]
class ByteCursor {
 public:
  /// `bytes` and `where` (the file, for messages) outlive the cursor.
  ByteCursor(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  std::size_t position() const noexcept { return position_; }
  std::size_t remaining() const noexcept { return bytes_.size() - position_; }

  /// The next number, e.g. number<std::uint32_t>().
  template <class Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof(Number)).data(), sizeof(Number));
    return value;
  }

  /// The next `count` bytes.
  std::span<const std::byte> take(std::uint64_t count) {
    if (count > remaining()) {
      fail("ends at byte " + std::to_string(bytes_.size()) + " where " + std::to_string(count) +
           " more bytes are due at byte " + std::to_string(position_));
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return taken;
  }

  /// The next string: its length as 8 bytes, then its bytes.
  std::string_view string() {
    const auto length = number<std::uint64_t>();
    const auto taken = take(length);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  /// Throws unless `count` items of at least `item_bytes` each can still follow, so that nobody
  /// makes room for more than the file can hold. `what` names the items.
  void require_room(std::uint64_t count, std::uint64_t item_bytes, std::string_view what) const {
    if (count > remaining() / item_bytes) {
      fail("claims " + std::to_string(count) + " " + std::string(what) + " at byte " +
           std::to_string(position_) + ", where only " + std::to_string(remaining()) +
           " bytes are left");
    }
  }

  /// Throws Error(bad_input): "the file WHAT".
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::bad_input, "the file " + what, where_,
                "it is damaged or incomplete; fetch it again");
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t position_ = 0;
};

}  // namespace quiver
