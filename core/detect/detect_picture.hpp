// From a picture to a detector's input, and from its predictions to boxes on the picture.
#pragma once

#include <vector>

#include "core/image/letterbox.hpp"
#include "core/vision/detector_run.hpp"

namespace quiver {

/// A picture as a detector takes it.
struct PreparedPicture {
  std::vector<float> values;  ///< [height, width, 3], from 0 to 1.
  Letterbox place;

  PictureView view() const { return {values, place.size().height, place.size().width}; }
};

/// Fits a picture into `side` pixels with bars up to the next multiple that the detector asks for.
/// Throws as letterbox_place() does. [any-thread]
PreparedPicture prepare_picture(const Picture& picture, const DetectorInfo& info, int side);

struct DetectOptions {
  int side = 640;       ///< Longer side of the input.
  float score = 0.25F;  ///< Only predictions above it.
  int most = 300;
};

/// Predictions above the score, mapped to pixels of the picture and cut at its edges, by falling
/// score. [any-thread]
std::vector<Detection> place_detections(const RawDetections& raw, const Letterbox& place,
                                        const DetectOptions& options);

/// All of it for one picture.
std::vector<Detection> detect_picture(DetectorRun& detector, const Picture& picture,
                                      const DetectOptions& options);

}  // namespace quiver
