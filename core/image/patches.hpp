// Pictures cut into patches, as the towers of vision models take them.
#pragma once

#include "core/image/picture.hpp"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quiver {

/// What the size of a picture has to obey.
struct SmartResizeRule {
  int factor = 32;                       ///< Both sides become multiples of it.
  std::int64_t min_pixels = 65'536;      ///< Smaller pictures are enlarged.
  std::int64_t max_pixels = 16'777'216;  ///< Larger pictures are shrunk.
  double max_aspect = 200.0;             ///< Longer side over shorter side.
};

/// The size that a picture is resized to: each side rounded to a multiple of the factor (half to
/// even); if the area is then too large or too small, both sides are scaled by the same number and
/// rounded towards the allowed area, no side below one factor. The proportions may change a little.
///
/// Throws Error(bad_input), naming `where`, for a picture whose sides are further apart than
/// max_aspect, and Error(usage) for a side, a factor or a limit of pixels below 1, or a limit
/// above 2^31. [any-thread]
PictureSize smart_resize(PictureSize size, const SmartResizeRule& rule, std::string_view where);

/// How pictures are cut, and what their bytes become: (byte / 255 - mean) / std, in float32.
struct PatchSpec {
  int patch = 16;    ///< Side of a patch in pixels.
  int merge = 2;     ///< Patches that are later merged form squares of this side.
  int temporal = 2;  ///< Frames of a patch; the one picture stands for all of them.
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F};
  std::array<float, 3> std{0.5F, 0.5F, 0.5F};

  /// The elements of a patch.
  std::size_t row_size() const noexcept {
    return 3 * static_cast<std::size_t>(temporal) * static_cast<std::size_t>(patch) *
           static_cast<std::size_t>(patch);
  }
};

/// A picture in patches.
struct Patches {
  int grid_height = 0;  ///< Patches from top to bottom.
  int grid_width = 0;   ///< Patches from left to right.
  /// [grid_height * grid_width, row_size()]. Square by square of merge * merge patches, each
  /// order row-major: (grid_height / merge, grid_width / merge, merge, merge). A patch is
  /// (colour, frame, row, column).
  std::vector<float> rows;
};

/// Cuts a picture whose sides are multiples of patch * merge. REQUIRES: require_whole(picture).
/// Throws Error(usage) for sides that are not, and for a spec with numbers below 1. [any-thread]
Patches cut_patches(const Picture& picture, const PatchSpec& spec);

}  // namespace quiver
