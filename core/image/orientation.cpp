// Finding the orientation in EXIF data, and turning pictures by it.
#include "core/image/orientation.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace quiver::image {
namespace {

using namespace std::string_view_literals;

/// A TIFF block in either byte order; what lies outside reads as 0.
class TiffBlock {
 public:
  TiffBlock(std::span<const std::byte> bytes, bool big_endian)
      : bytes_(bytes), big_endian_(big_endian) {}

  std::uint32_t u16(std::uint64_t offset) const noexcept { return number(offset, 2); }
  std::uint32_t u32(std::uint64_t offset) const noexcept { return number(offset, 4); }
  std::size_t size() const noexcept { return bytes_.size(); }

 private:
  std::uint32_t number(std::uint64_t offset, unsigned count) const noexcept {
    if (offset + count > bytes_.size()) return 0;
    std::uint32_t value = 0;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned place = big_endian_ ? i : count - 1 - i;
      value = value << 8 | std::to_integer<std::uint32_t>(bytes_[offset + place]);
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::uint32_t kShort = 3;
constexpr std::uint32_t kLong = 4;
constexpr std::size_t kEntryBytes = 12;

bool begins_with(std::span<const std::byte> bytes, std::string_view text) noexcept {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

}  // namespace

int exif_orientation(std::span<const std::byte> exif) noexcept {
  constexpr auto kMark = "Exif\0\0"sv;
  if (begins_with(exif, kMark)) exif = exif.subspan(kMark.size());
  const bool big_endian = begins_with(exif, "MM\0\x2A"sv);
  if (!big_endian && !begins_with(exif, "II\x2A\0"sv)) return 1;
  const TiffBlock block(exif, big_endian);
  const std::uint64_t directory = block.u32(4);
  const std::uint32_t entries = block.u16(directory);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::uint64_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > block.size()) break;
    if (block.u16(entry) != kOrientationTag) continue;
    const std::uint32_t type = block.u16(entry + 2);
    if (block.u32(entry + 4) != 1 || (type != kShort && type != kLong)) return 1;
    const std::uint32_t value = type == kShort ? block.u16(entry + 8) : block.u32(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Picture turned(Picture picture, int orientation) {
  require_whole(picture);
  if (orientation <= 1 || orientation > 8) return picture;
  // The eight cases are made of three: rows and columns swapped, then either axis mirrored.
  const bool swap = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Picture out;
  out.width = swap ? picture.height : picture.width;
  out.height = swap ? picture.width : picture.height;
  out.rgb.resize(picture.rgb.size());
  const std::ptrdiff_t row_bytes = std::ptrdiff_t{picture.width} * 3;
  const std::ptrdiff_t step_x = (from_right ? -1 : 1) * (swap ? row_bytes : 3);
  const std::ptrdiff_t step_y = (from_bottom ? -1 : 1) * (swap ? 3 : row_bytes);
  const std::ptrdiff_t start =
      (from_right ? -step_x * (out.width - 1) : 0) + (from_bottom ? -step_y * (out.height - 1) : 0);
  // In strips: where rows become columns, a line of the cache is used up before it is dropped.
  constexpr int kStrip = 64;
  for (int strip = 0; strip < out.width; strip += kStrip) {
    const int end = std::min(strip + kStrip, out.width);
    for (int y = 0; y < out.height; ++y) {
      const std::uint8_t* from = picture.rgb.data() + start + y * step_y;
      std::uint8_t* to = out.rgb.data() + (std::ptrdiff_t{y} * out.width + strip) * 3;
      for (int x = strip; x < end; ++x, to += 3) std::memcpy(to, from + x * step_x, 3);
    }
  }
  return out;
}

}  // namespace quiver::image
