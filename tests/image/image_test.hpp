// Stored picture files, checksums and other things that tests of pictures share.
#pragma once

#include "core/image/picture.hpp"
#include "core/image/read_picture.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/support/temporary_folder.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace quiver::test {

inline const std::filesystem::path kPictureData =
    std::filesystem::path(QUIVER_SOURCE_DIR) / "tests/image/data";

/// The files that make_data.py stored, and what each looks like.
inline const SafetensorsFile& stored_pictures() {
  static const SafetensorsFile file = SafetensorsFile::open(kPictureData / "pictures.safetensors");
  return file;
}

inline std::span<const std::byte> stored_file(const std::string& name) {
  return stored_pictures().at(name + ".file").data;
}

inline std::vector<std::byte> stored_copy(const std::string& name) {
  const auto file = stored_file(name);
  return {file.begin(), file.end()};
}

/// Names of all stored files.
inline std::vector<std::string> stored_names() {
  constexpr std::string_view kEnding = ".file";
  std::vector<std::string> names;
  for (const auto& tensor : stored_pictures().tensors()) {
    if (tensor.name.ends_with(kEnding)) {
      names.emplace_back(tensor.name.substr(0, tensor.name.size() - kEnding.size()));
    }
  }
  return names;
}

/// A tensor of bytes, [height, width, 3], as a picture.
inline Picture as_picture(const TensorView& tensor) {
  Picture picture{static_cast<int>(tensor.shape.at(1)), static_cast<int>(tensor.shape.at(0)), {}};
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(tensor.data.data());
  picture.rgb.assign(bytes, bytes + tensor.data.size());
  return picture;
}

inline nlohmann::json stored_numbers() {
  return nlohmann::json::parse(read_text(kPictureData / "numbers.json"));
}

inline PictureSize size_of(const nlohmann::json& json) {
  return {json.at(0).get<int>(), json.at(1).get<int>()};
}

inline Picture read(std::span<const std::byte> file, const PictureLimits& limits = {}) {
  return read_picture(file, limits, "picture");
}

/// The CRC-32 of zlib.
inline std::uint32_t crc32(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = ~0U;
  for (const std::uint8_t byte : bytes) {
    sum ^= byte;
    for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ (0xEDB88320U & (0U - (sum & 1U)));
  }
  return ~sum;
}

inline std::uint32_t crc_of(std::span<const std::byte> bytes) {
  return crc32({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

/// A big-endian number into a file.
inline void put_number(std::vector<std::byte>& file, std::size_t at, std::uint32_t number) {
  for (std::size_t i = 0; i < 4; ++i) {
    file.at(at + i) = static_cast<std::byte>(number >> (24 - 8 * i));
  }
}

/// A PNG whose header claims another size.
inline std::vector<std::byte> png_of_size(const std::string& name, std::uint32_t width,
                                          std::uint32_t height) {
  constexpr std::size_t kHeader = 12;  // Its name, from where its checksum counts, and 13 bytes.
  auto file = stored_copy(name);
  put_number(file, kHeader + 4, width);
  put_number(file, kHeader + 8, height);
  put_number(file, kHeader + 17, crc_of(std::span(file).subspan(kHeader, 17)));
  return file;
}

/// The noise of make_data.py.
inline Picture noise(PictureSize size) {
  Picture picture{size.width, size.height, {}};
  picture.rgb.resize(picture_bytes(size));
  std::uint32_t number = 0;
  for (std::uint8_t& byte : picture.rgb) {
    byte = static_cast<std::uint8_t>(number >> 24);
    number += 2654435761U;
  }
  return picture;
}

}  // namespace quiver::test
