// Reading of pictures: JPEG, PNG and WebP files as RGB bytes.
#pragma once

#include "core/image/picture.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

namespace quiver {

/// How large a picture may claim to be. Both are checked before memory is taken for its pixels. The
/// defaults let photographs of 108 megapixels in; decoding one takes at most 11 bytes a pixel at a
/// time (a progressive JPEG: its coefficients and the result), a common one 3.
struct PictureLimits {
  std::uint64_t max_pixels = 120'000'000;  ///< Width times height.
  int max_side = 1'000'000;                ///< The longer side.
};

enum class PictureFormat { jpeg, png, webp };

/// Which format the first bytes of a file are of, whatever its name; nothing where none of the
/// three. [any-thread]
std::optional<PictureFormat> picture_format(std::span<const std::byte> file) noexcept;

/// Decodes a picture and turns it the way its EXIF data says that it is to be looked at.
///
///  - JPEG: baseline, extended and progressive with 8 bits; grayscale, YCbCr, RGB, CMYK and YCCK
///    (the latter two inverted, as Adobe's programs write them).
///  - PNG: every depth and colour type, interlaced or not. Alpha is dropped, not blended. Of 16
///  bits
///    a colour the upper 8 count; gray of 16 bits without alpha is cut off at 255. That is what
///    Pillow's convert("RGB") does, which the reference preprocessing of models is built on. Of an
///    animation the default picture is taken.
///  - WebP: lossy and lossless. Alpha is dropped; of an animation the first frame is taken, in its
///    place on the canvas, black around it.
///
/// Gamma and colour profiles are ignored. A file that is damaged or ends early is refused even
/// where a part of the picture could be seen. EXIF data that cannot be understood is ignored.
/// `where` names the file in messages. Throws Error(bad_input); memory is bounded by `limits` and
/// the size of the file. [any-thread]
Picture read_picture(std::span<const std::byte> file, const PictureLimits& limits,
                     std::string_view where);

/// The same for the file at `path`. [any-thread]
Picture read_picture(const std::filesystem::path& path, const PictureLimits& limits = {});

}  // namespace quiver
