// From a picture to a detector's input, and from its predictions to boxes on the picture.
#include "core/detect/detect_picture.hpp"

#include <algorithm>

namespace quiver {

PreparedPicture prepare_picture(const Picture& picture, const DetectorInfo& info, int side) {
  LetterboxRule rule;
  rule.side = side;
  rule.rectangle = true;
  rule.stride = info.multiple;
  rule.fill = static_cast<std::uint8_t>(std::clamp(info.padding, 0, 255));
  PreparedPicture prepared;
  prepared.place = letterbox_place(picture.size(), rule);
  const Picture fitted = letterbox(picture, prepared.place, rule.fill);
  prepared.values.resize(fitted.rgb.size());
  to_unit_range(fitted, prepared.values);
  return prepared;
}

std::vector<Detection> place_detections(const RawDetections& raw, const Letterbox& place,
                                        const DetectOptions& options) {
  std::vector<Detection> detections = best_detections(raw, options.most);
  std::erase_if(detections, [&](const Detection& d) { return !(d.score > options.score); });
  for (Detection& detection : detections) detection.box = box_to_source(place, detection.box);
  return detections;
}

std::vector<Detection> detect_picture(DetectorRun& detector, const Picture& picture,
                                      const DetectOptions& options) {
  const PreparedPicture prepared = prepare_picture(picture, detector.info(), options.side);
  return place_detections(detector.run(prepared.view()), prepared.place, options);
}

}  // namespace quiver
