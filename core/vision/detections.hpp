// What a detector predicts for a picture, and the boxes that come of it.
#pragma once

#include <vector>

#include "core/image/letterbox.hpp"

namespace quiver {

/// One grid of cells over the input picture.
struct DetectionGrid {
  int height = 0;
  int width = 0;
  int stride = 0;  ///< Pixels of a cell's side.

  int cells() const noexcept { return height * width; }
  bool operator==(const DetectionGrid&) const = default;
};

/// Predictions of all cells, grid after grid, each row by row.
struct RawDetections {
  std::vector<DetectionGrid> grids;
  int classes = 0;
  std::vector<float> distances;  ///< [cells, 4]: left, top, right, bottom of the centre, in cells.
  std::vector<float> logits;     ///< [cells, classes]

  int cells() const noexcept { return static_cast<int>(distances.size() / 4); }
};

struct Detection {
  Box box;
  float score = 0;
  int class_id = 0;
  int cell = 0;  ///< Where it was predicted.
};

/// The box of every cell in pixels of the input picture. [any-thread]
std::vector<Box> decode_boxes(const RawDetections& raw);

/// The best predictions, by falling score: of the `most` cells with the highest best score (of all,
/// where there are fewer) as many of the highest scores, so a cell may stand for several classes.
/// Of equal scores the lower cell comes first, then the lower class. What is not a number is no
/// prediction. [any-thread]
std::vector<Detection> best_detections(const RawDetections& raw, int most);

/// sigmoid(x). [any-thread]
float sigmoid(float x);

}  // namespace quiver
