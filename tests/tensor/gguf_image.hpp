// GGUF files in memory, made piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quiver::test {

/// Appends little-endian numbers and strings.
class GgufImage {
 public:
  using Bytes = std::vector<std::byte>;

  /// The fixed part in front of the metadata.
  static GgufImage with(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    GgufImage image;
    return image.raw("GGUF").u32(version).u64(tensors).u64(keys);
  }

  template <class Number>
  GgufImage& number(Number value) {
    return raw({reinterpret_cast<const char*>(&value), sizeof(Number)});
  }
  GgufImage& u8(std::uint8_t value) { return number(value); }
  GgufImage& u32(std::uint32_t value) { return number(value); }
  GgufImage& u64(std::uint64_t value) { return number(value); }

  GgufImage& raw(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
    return *this;
  }
  GgufImage& string(std::string_view text) { return u64(text.size()).raw(text); }

  /// A key and the kind of its value, which follows.
  GgufImage& key(std::string_view name, std::uint32_t kind) { return string(name).u32(kind); }

  /// One tensor's entry; `dimensions` as in files, innermost first.
  GgufImage& tensor(std::string_view name, const std::vector<std::uint64_t>& dimensions,
                    std::uint32_t type, std::uint64_t offset) {
    string(name).u32(static_cast<std::uint32_t>(dimensions.size()));
    for (const std::uint64_t dimension : dimensions) u64(dimension);
    return u32(type).u64(offset);
  }

  /// Zeros up to a multiple of `alignment`, then `count` bytes 0, 1, 2, ...
  GgufImage& data(std::size_t count, std::size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) u8(0);
    for (std::size_t i = 0; i < count; ++i) u8(static_cast<std::uint8_t>(i));
    return *this;
  }

  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace quiver::test
