// Sizes that fit a grid of patches, and the cutting.
#include "core/image/patches.hpp"

#include "core/tensor/printable.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace quiver {
namespace {

/// What each byte of each colour becomes.
using Levels = std::array<std::array<float, 256>, 3>;

Levels levels_of(const PatchSpec& spec) {
  Levels levels;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t v = 0; v < 256; ++v) {
      levels[c][v] = (static_cast<float>(v) / 255.0F - spec.mean[c]) / spec.std[c];
    }
  }
  return levels;
}

/// The patch whose upper left pixel is at `corner`, into `to`.
void cut(const std::uint8_t* corner, std::size_t row_bytes, const PatchSpec& spec,
         const Levels& levels, float* to) {
  const auto side = static_cast<std::size_t>(spec.patch);
  for (std::size_t c = 0; c < 3; ++c) {
    const float* frame = to;
    for (std::size_t y = 0; y < side; ++y) {
      const std::uint8_t* from = corner + y * row_bytes + c;
      for (std::size_t x = 0; x < side; ++x) *to++ = levels[c][from[3 * x]];
    }
    for (int t = 1; t < spec.temporal; ++t, to += side * side) {
      std::memcpy(to, frame, side * side * sizeof(float));
    }
  }
}

void require_fitting(const Picture& picture, const PatchSpec& spec) {
  // These keep products in range, and a model's config from asking for any amount of memory.
  constexpr int kMaxPatch = 4096;
  constexpr int kMaxFrames = 16;
  const auto fits = [](int number) { return number >= 1 && number <= kMaxPatch; };
  if (!fits(spec.patch) || !fits(spec.merge) || !fits(spec.temporal) ||
      spec.temporal > kMaxFrames) {
    throw Error(ErrorCode::usage,
                "patches of " + std::to_string(spec.patch) + " pixels, merged by " +
                    std::to_string(spec.merge) + ", of " + std::to_string(spec.temporal) +
                    " frames cannot be cut",
                {},
                "each of the numbers is at least 1, sides at most " + std::to_string(kMaxPatch) +
                    " and frames at most " + std::to_string(kMaxFrames));
  }
  const int cell = spec.patch * spec.merge;
  if (picture.width % cell != 0 || picture.height % cell != 0) {
    throw Error(ErrorCode::usage,
                "a picture of " + size_text(picture.size()) +
                    " pixels cannot be cut into cells of " + std::to_string(cell),
                {}, "resize it to multiples of that");
  }
}

}  // namespace

PictureSize smart_resize(PictureSize size, const SmartResizeRule& rule, std::string_view where) {
  constexpr std::int64_t kMaxPixels = std::int64_t{1} << 31;
  const bool sound = size.width >= 1 && size.height >= 1 && rule.factor >= 1 &&
                     std::min(rule.min_pixels, rule.max_pixels) >= 1 &&
                     std::max(rule.min_pixels, rule.max_pixels) <= kMaxPixels;
  if (!sound) {
    throw Error(ErrorCode::usage,
                "a picture of " + size_text(size) + " pixels cannot be fitted to multiples of " +
                    std::to_string(rule.factor) + " within " + std::to_string(rule.min_pixels) +
                    " to " + std::to_string(rule.max_pixels) + " pixels",
                printable(where));
  }
  const double width = size.width;
  const double height = size.height;
  const double factor = rule.factor;
  if (std::max(width, height) > rule.max_aspect * std::min(width, height)) {
    throw Error(ErrorCode::bad_input,
                "the picture has " + size_text(size) +
                    " pixels, its sides further apart than 1 : " +
                    std::to_string(static_cast<long>(rule.max_aspect)),
                printable(where), "cut it into parts");
  }
  double to_width = std::nearbyint(width / factor) * factor;
  double to_height = std::nearbyint(height / factor) * factor;
  if (to_width * to_height > static_cast<double>(rule.max_pixels)) {
    const double shrink = std::sqrt(height * width / static_cast<double>(rule.max_pixels));
    to_width = std::max(std::floor(width / shrink / factor) * factor, factor);
    to_height = std::max(std::floor(height / shrink / factor) * factor, factor);
  } else if (to_width * to_height < static_cast<double>(rule.min_pixels)) {
    const double stretch = std::sqrt(static_cast<double>(rule.min_pixels) / (height * width));
    to_width = std::ceil(width * stretch / factor) * factor;
    to_height = std::ceil(height * stretch / factor) * factor;
  }
  return {static_cast<int>(to_width), static_cast<int>(to_height)};
}

Patches cut_patches(const Picture& picture, const PatchSpec& spec) {
  require_whole(picture);
  require_fitting(picture, spec);
  Patches out;
  out.grid_height = picture.height / spec.patch;
  out.grid_width = picture.width / spec.patch;
  out.rows.resize(static_cast<std::size_t>(out.grid_height) *
                  static_cast<std::size_t>(out.grid_width) * spec.row_size());
  const Levels levels = levels_of(spec);
  const std::size_t row_bytes = static_cast<std::size_t>(picture.width) * 3;
  const auto side = static_cast<std::size_t>(spec.patch);
  float* to = out.rows.data();
  for (int cell_y = 0; cell_y < out.grid_height; cell_y += spec.merge) {
    for (int cell_x = 0; cell_x < out.grid_width; cell_x += spec.merge) {
      for (int patch = 0; patch < spec.merge * spec.merge; ++patch, to += spec.row_size()) {
        const auto y = static_cast<std::size_t>(cell_y + patch / spec.merge);
        const auto x = static_cast<std::size_t>(cell_x + patch % spec.merge);
        cut(picture.rgb.data() + y * side * row_bytes + x * side * 3, row_bytes, spec, levels, to);
      }
    }
  }
  return out;
}

}  // namespace quiver
