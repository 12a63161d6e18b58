// Draws boxes and labels on a picture.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/image/picture.hpp"
#include "core/vision/detections.hpp"

namespace quiver {

/// Draws each box in the colour of its class, edged with black and white so that it shows on any
/// ground, and "label 0.87" in white on a dark plate at its upper edge; the size of lines and
/// letters follows that of the picture. `labels` has a text a class. REQUIRES:
/// require_whole(picture). [any-thread]
void draw_detections(Picture& picture, std::span<const Detection> detections,
                     std::span<const std::string> labels);

/// Pixels of a letter, 5 x 7: bit 4 - x of row y. What is not printable ASCII gets a box.
/// [any-thread]
std::span<const unsigned char, 7> glyph(char letter);

/// How many rows lower than others a letter stands, whose tail reaches under the line. [any-thread]
int glyph_drop(char letter);

}  // namespace quiver
