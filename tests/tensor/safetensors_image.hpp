// Safetensors files in memory, made byte by byte.
#pragma once

#include "core/tensor/safetensors.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace quiver::test {

using Bytes = std::vector<std::byte>;

/// A file with this header, claimed to have `length` bytes, and the data bytes 0, 1, 2, ...
inline Bytes safetensors_image(std::string_view header, std::size_t data_bytes,
                               std::uint64_t length) {
  Bytes bytes(8 + header.size() + data_bytes);
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  for (std::size_t i = 0; i < data_bytes; ++i) {
    bytes[8 + header.size() + i] = static_cast<std::byte>(i);
  }
  return bytes;
}
inline Bytes safetensors_image(std::string_view header, std::size_t data_bytes) {
  return safetensors_image(header, data_bytes, header.size());
}

/// A file image together with the bytes it reads from.
struct OwnedSafetensors {
  Bytes bytes;
  quiver::SafetensorsFile file;

  explicit OwnedSafetensors(Bytes image)
      : bytes(std::move(image)), file(quiver::SafetensorsFile::from_bytes(bytes, "image")) {}
  OwnedSafetensors(std::string_view header, std::size_t data_bytes)
      : OwnedSafetensors(safetensors_image(header, data_bytes)) {}
};

}  // namespace quiver::test
