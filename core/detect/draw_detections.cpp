// Draws boxes and labels on a picture.
#include "core/detect/draw_detections.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace quiver {
namespace {

using Colour = std::array<std::uint8_t, 3>;
constexpr Colour kBlack{0, 0, 0};
constexpr Colour kWhite{255, 255, 255};
constexpr int kLetterWidth = 6;  ///< With the gap behind it.
constexpr int kLetterHeight = 7;

/// Colours far apart for neighbouring classes: the hue turns by the golden angle, full and bright.
Colour class_colour(int class_id) {
  const double hue = std::fmod(class_id * 0.618033988749895 * 6, 6.0);
  Colour colour{};
  for (std::size_t i = 0; i < 3; ++i) {
    const double shifted = std::fmod(hue + (i == 0 ? 0 : i == 1 ? 4 : 2), 6.0);
    const double level = std::clamp(std::abs(shifted - 3) - 1, 0.0, 1.0);
    colour[i] = static_cast<std::uint8_t>(std::lround(40 + 215 * level));
  }
  return colour;
}

/// The plate behind white letters: the same hue, dark enough to read them on.
Colour plate_colour(Colour colour) {
  for (std::uint8_t& level : colour) level = static_cast<std::uint8_t>(level * 2 / 5);
  return colour;
}

class Canvas {
 public:
  explicit Canvas(Picture& picture) : picture_(picture) {}

  /// Pixels [x1, x2) x [y1, y2), as far as they are on the picture.
  void fill(int x1, int y1, int x2, int y2, const Colour& colour) {
    x1 = std::clamp(x1, 0, picture_.width);
    x2 = std::clamp(x2, 0, picture_.width);
    y2 = std::clamp(y2, 0, picture_.height);
    for (int y = std::max(y1, 0); y < y2; ++y) {
      std::uint8_t* row = picture_.rgb.data() + static_cast<std::size_t>(y) *
                                                    static_cast<std::size_t>(picture_.width) * 3;
      for (int x = x1; x < x2; ++x) std::ranges::copy(colour, row + 3 * x);
    }
  }

  /// A frame of lines `thick` wide whose outer corners are given.
  void frame(int x1, int y1, int x2, int y2, int thick, const Colour& colour) {
    fill(x1, y1, x2, y1 + thick, colour);
    fill(x1, y2 - thick, x2, y2, colour);
    fill(x1, y1, x1 + thick, y2, colour);
    fill(x2 - thick, y1, x2, y2, colour);
  }

  void text(int x, int y, int size, const std::string& letters, const Colour& colour) {
    for (const char letter : letters) {
      const auto rows = glyph(letter);
      const int top = y + glyph_drop(letter) * size;
      for (int row = 0; row < kLetterHeight; ++row) {
        for (int column = 0; column < kLetterWidth - 1; ++column) {
          if ((rows[static_cast<std::size_t>(row)] >> (4 - column) & 1) == 0) continue;
          fill(x + column * size, top + row * size, x + (column + 1) * size, top + (row + 1) * size,
               colour);
        }
      }
      x += kLetterWidth * size;
    }
  }

 private:
  Picture& picture_;
};

}  // namespace

void draw_detections(Picture& picture, std::span<const Detection> detections,
                     std::span<const std::string> labels) {
  require_whole(picture);
  const int longer = std::max(picture.width, picture.height);
  const int thick = std::max(1, longer / 320);
  const int size = std::max(1, (longer + 200) / 400);
  Canvas canvas(picture);
  const auto pixel = [](float value) { return static_cast<int>(std::lround(value)); };
  // The best last, so that nothing covers them.
  for (std::size_t i = detections.size(); i-- > 0;) {
    const Detection& d = detections[i];
    const Colour colour = class_colour(d.class_id);
    const int x1 = pixel(d.box.x1);
    const int y1 = pixel(d.box.y1);
    const int x2 = std::max(pixel(d.box.x2), x1 + 1);
    const int y2 = std::max(pixel(d.box.y2), y1 + 1);
    canvas.frame(x1 - 1, y1 - 1, x2 + 1, y2 + 1, 1, kBlack);
    canvas.frame(x1, y1, x2, y2, thick, colour);
    canvas.frame(x1 + thick, y1 + thick, x2 - thick, y2 - thick, 1, kWhite);
    const auto label = static_cast<std::size_t>(d.class_id);
    const std::string text =
        fmt::format("{} {:.2f}", label < labels.size() ? labels[label] : "?", d.score);
    const int width =
        static_cast<int>(std::min<std::size_t>(text.size(), 4096)) * kLetterWidth * size + 3 * size;
    const int height = (kLetterHeight + 5) * size;
    // Above the box where there is room, else inside; never off the picture where it fits.
    const int top = y1 >= height ? y1 - height : y1;
    const int left = std::max(0, std::min(x1, picture.width - width));
    canvas.fill(left, top, left + width, top + height, plate_colour(colour));
    canvas.frame(left, top, left + width, top + height, std::max(1, size / 2), colour);
    canvas.text(left + 2 * size, top + 2 * size, size, text, kWhite);
  }
}

}  // namespace quiver
