// What commands that work on detectors share.
#include "host/cli/detector_session.hpp"

#include "host/cli/model_location.hpp"

#include <algorithm>

namespace quiver::cli {

DetectorRun open_detector(Session& session, const Arguments& arguments) {
  return {session.load(find_model(arguments.text("MODEL"))), session.threads(), session.compute()};
}

int picture_side(const Arguments& arguments, const DetectorInfo& info) {
  const int side = arguments.has("picture-size")
                       ? static_cast<int>(arguments.integer("picture-size", 1, kMostSide))
                       : std::clamp(info.input_size, 1, kMostSide);
  return (side + info.multiple - 1) / info.multiple * info.multiple;
}

std::vector<std::string> class_names(const DetectorRun& detector) {
  const Detector& described = detector_of(detector.model());
  std::vector<std::string> names;
  for (int i = 0; i < described.info().class_count; ++i) {
    names.emplace_back(described.class_name(i));
  }
  return names;
}

}  // namespace quiver::cli
