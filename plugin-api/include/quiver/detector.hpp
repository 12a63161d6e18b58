// The extension of models that find objects in pictures.
#pragma once

#include <quiver/handles.hpp>
#include <quiver/ops.hpp>

#include <array>
#include <cstdint>
#include <string_view>

namespace quiver {

/// What a detector looks at and what it tells apart.
struct DetectorInfo {
  int multiple = 32;     ///< Height and width of its pictures are multiples of this.
  int input_size = 640;  ///< The longer side it was made for.
  int class_count = 0;
  int padding = 114;  ///< Level (0 to 255) of what fills a picture up.
};

/// One grid of predictions over the picture, a cell `stride` pixels wide and high, row by row.
struct DetectorLevel {
  Tensor boxes;   ///< [cells, 4]: from the cell's centre to left, top, right, bottom, in cells.
  Tensor logits;  ///< [cells, classes]; sigmoid of it is the score.
  int stride = 0;
};

/// Asked of a Model by id. The picture is RGB from 0 to 1. The host runs the blocks on begin(), and
/// makes boxes of what levels() gives: each object is predicted once, so none are suppressed.
/// [any-thread]
class Detector {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.detector/1";
  static constexpr int kMaxLevels = 7;
  virtual ~Detector() = default;

  virtual DetectorInfo info() const = 0;

  /// Name of a class in [0, class_count), valid as long as the model.
  virtual std::string_view class_name(int index) const = 0;

  /// The stream before block 0, from ImageOps::picture().
  virtual Stream begin(Ops& ops) const = 0;

  /// What the stream after the last block holds; levels whose stride is 0 are not there.
  virtual std::array<DetectorLevel, kMaxLevels> levels(const Stream& stream) const = 0;
};

}  // namespace quiver
