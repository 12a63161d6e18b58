// Resizing of pictures, to the bit as the programs do that models were trained beside.
#pragma once

#include "core/image/picture.hpp"

namespace quiver {

/// Bicubic (a = -0.5) with antialiasing: the kernel is as much wider as the picture gets smaller.
/// Bit for bit what Pillow 13 computes for 8-bit RGB: one axis after the other, weights rounded to
/// 2^-22, bytes after each of the two; an axis that keeps its length is left alone. Width comes
/// first, unless the height shrinks by more than twice as many pixels as the width (before its
/// version 13 Pillow always began with the width: a few bytes differ by 1 then).
///
/// REQUIRES: require_whole(picture). Throws Error(usage) where `size` has a side outside 1..1000000
/// or the result or what lies between the two passes would take more than 2 GiB. [any-thread]
Picture resize_bicubic(const Picture& picture, PictureSize size);

/// Bilinear without antialiasing, between pixel centres. Bit for bit what OpenCV's INTER_LINEAR
/// computes for bytes: weights rounded to 2^-11, four bits of the row sums dropped in between.
///
/// REQUIRES: require_whole(picture). Throws Error(usage) where `size` has a side outside 1..1000000
/// or the result would take more than 2 GiB. [any-thread]
Picture resize_bilinear(const Picture& picture, PictureSize size);

}  // namespace quiver
