// The decoders behind read_picture(), one for each format.
#pragma once

#include "core/image/picture.hpp"
#include "core/image/read_picture.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quiver::image {

/// A picture as it lies in the file, and its EXIF orientation, 1 to 8 (1: as it is).
struct Decoded {
  Picture picture;
  int orientation = 1;
};

/// What a decoder is given.
struct Source {
  std::span<const std::byte> file;
  const PictureLimits& limits;
  std::string where;  ///< The file, fit for messages.

  /// Throws unless a picture of that size may be decoded. [any-thread]
  PictureSize allow(std::uint64_t width, std::uint64_t height) const;

  /// Throws Error(bad_input): "the FORMAT picture cannot be read: REASON". [any-thread]
  [[noreturn]] void fail(std::string_view format, std::string_view reason) const;
};

/// Each throws Error(bad_input) for what it cannot decode. [any-thread]
Decoded decode_jpeg(const Source& source);
Decoded decode_png(const Source& source);
Decoded decode_webp(const Source& source);

}  // namespace quiver::image
