// Fitting a picture into a square of a given side, with bars, and boxes back from there.
#pragma once

#include "core/image/picture.hpp"

#include <cstdint>
#include <span>

namespace quiver {

/// How pictures are fitted.
struct LetterboxRule {
  int side = 640;           ///< Of the square.
  bool rectangle = false;   ///< Bars only up to the next multiple of `stride`, not to the square.
  int stride = 32;          ///< Looked at for rectangles.
  std::uint8_t fill = 114;  ///< All three colours of the bars.
};

/// Where a picture came to lie: resized, with bars of so many pixels around it.
struct Letterbox {
  PictureSize source;
  PictureSize resized;
  int left = 0;
  int top = 0;
  int right = 0;
  int bottom = 0;

  /// Of everything, bars included.
  PictureSize size() const noexcept {
    return {left + resized.width + right, top + resized.height + bottom};
  }

  friend bool operator==(const Letterbox&, const Letterbox&) = default;
};

/// A rectangle by its corners, in pixels from the upper left corner of the picture.
struct Box {
  float x1 = 0;
  float y1 = 0;
  float x2 = 0;
  float y2 = 0;

  friend bool operator==(const Box&, const Box&) = default;
};

/// Where a picture of that size is to lie: scaled, up as well as down, until it touches two sides,
/// each side rounded to a whole pixel (half to even, at least 1), the bars shared evenly with the
/// odd pixel to the right and below. Throws Error(usage) where a side of the picture or the rule is
/// below 1 or above 1000000. [any-thread]
Letterbox letterbox_place(PictureSize source, const LetterboxRule& rule);

/// The picture resized (resize_bilinear) and with its bars, place.size() pixels.
/// REQUIRES: require_whole(picture), place.source == picture.size(); throws as resize_bilinear
/// does. [any-thread]
Picture letterbox(const Picture& picture, const Letterbox& place, std::uint8_t fill = 114);

/// A box of the letterboxed picture in pixels of the source, cut at its edges: the exact inverse of
/// what was done, with the factor of each axis as it came out after rounding. [any-thread]
Box box_to_source(const Letterbox& place, const Box& box) noexcept;

/// The picture's bytes over 255, in their order. REQUIRES: `to` has as many elements. [any-thread]
void to_unit_range(const Picture& picture, std::span<float> to);

}  // namespace quiver
