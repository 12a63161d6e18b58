// Which way up a picture is, as cameras note it in EXIF data.
#pragma once

#include "core/image/picture.hpp"

#include <cstddef>
#include <span>

namespace quiver::image {

/// The orientation, 1 to 8, in a block of EXIF data: a TIFF header and what follows it, with or
/// without "Exif\0\0" in front. 1 where there is none or the block is damaged: a picture is worth
/// more than its metadata. [any-thread]
int exif_orientation(std::span<const std::byte> exif) noexcept;

/// The picture turned and mirrored so that row 0 is its top and column 0 its left, given that its
/// rows and columns are what `orientation` (1 to 8) says. [any-thread]
Picture turned(Picture picture, int orientation);

}  // namespace quiver::image
