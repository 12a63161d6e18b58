// Choosing a picture's decoder by what the file begins with.
#include "core/image/read_picture.hpp"

#include "core/image/decoders.hpp"
#include "core/image/orientation.hpp"
#include "core/tensor/mapped_file.hpp"
#include "core/tensor/printable.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace quiver {
namespace {

bool has(std::span<const std::byte> file, std::size_t offset, std::string_view bytes) noexcept {
  return file.size() >= offset + bytes.size() &&
         std::memcmp(file.data() + offset, bytes.data(), bytes.size()) == 0;
}

image::Decoded decode(PictureFormat format, const image::Source& source) {
  switch (format) {
    case PictureFormat::jpeg: return image::decode_jpeg(source);
    case PictureFormat::png: return image::decode_png(source);
    case PictureFormat::webp: break;
  }
  return image::decode_webp(source);
}

}  // namespace

namespace image {

PictureSize Source::allow(std::uint64_t width, std::uint64_t height) const {
  const std::string size = std::to_string(width) + " x " + std::to_string(height) + " pixels";
  if (width == 0 || height == 0) {
    throw Error(ErrorCode::bad_input, "the picture has " + size, where, "it shows nothing");
  }
  const auto max_side = static_cast<std::uint64_t>(std::max(limits.max_side, 0));
  // The sides are compared first, so that their product cannot overflow.
  if (width > max_side || height > max_side || width * height > limits.max_pixels) {
    throw Error(ErrorCode::bad_input,
                "the picture has " + size + ", where at most " + std::to_string(limits.max_pixels) +
                    " and " + std::to_string(max_side) + " a side are read",
                where, "scale it down first");
  }
  return {static_cast<int>(width), static_cast<int>(height)};
}

void Source::fail(std::string_view format, std::string_view reason) const {
  throw Error(ErrorCode::bad_input,
              "the " + std::string(format) + " picture cannot be read: " + printable(reason), where,
              "it is damaged or incomplete; fetch it again, or save it anew with another program");
}

}  // namespace image

std::optional<PictureFormat> picture_format(std::span<const std::byte> file) noexcept {
  if (has(file, 0, "\xFF\xD8\xFF")) return PictureFormat::jpeg;
  if (has(file, 0, "\x89PNG\r\n\x1A\n")) return PictureFormat::png;
  if (has(file, 0, "RIFF") && has(file, 8, "WEBP")) return PictureFormat::webp;
  return std::nullopt;
}

Picture read_picture(std::span<const std::byte> file, const PictureLimits& limits,
                     std::string_view where) {
  const auto format = picture_format(file);
  if (!format) {
    throw Error(ErrorCode::bad_input,
                file.empty() ? "the file is empty, not a picture" : "the file is not a picture",
                printable(where), "JPEG, PNG and WebP are read");
  }
  image::Decoded decoded = decode(*format, {file, limits, printable(where)});
  return image::turned(std::move(decoded.picture), decoded.orientation);
}

Picture read_picture(const std::filesystem::path& path, const PictureLimits& limits) {
  const MappedFile file(path);
  return read_picture(file.bytes(), limits, path.string());
}

}  // namespace quiver
