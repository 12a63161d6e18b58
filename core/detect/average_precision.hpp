// How well detections agree with the truth: average precision as COCO defines it.
#pragma once

#include <vector>

#include "core/vision/detections.hpp"

namespace quiver {

/// An object that is there.
struct TrueBox {
  Box box;
  int class_id = 0;
  bool is_crowd = false;  ///< A region of many: what is found there counts neither way.
};

/// One picture's truth and what was found.
struct LabelledDetections {
  std::vector<TrueBox> truth;
  std::vector<Detection> found;
};

struct AveragePrecision {
  double at50 = 0;  ///< Mean over classes at an overlap of 0.5.
  double at75 = 0;
  double at50_95 = 0;           ///< Mean over overlaps 0.5, 0.55 .. 0.95.
  std::vector<double> class50;  ///< By class at 0.5; -1 where there is no object of it.
  int objects = 0;              ///< Crowds left out.
};

/// Intersection over union of two boxes; 0 where one has no area. [any-thread]
double overlap(const Box& a, const Box& b);

/// Matches by falling score, each to the object that it overlaps most with of those that are still
/// free, and averages the envelope of precision at 101 recalls. Classes without objects are left
/// out of the means, which are 0 where there are no objects at all. In each picture the hundred
/// surest predictions of a class count. [any-thread]
AveragePrecision average_precision(const std::vector<LabelledDetections>& pictures, int classes);

}  // namespace quiver
