// What commands that work on detectors share.
#pragma once

#include "core/vision/detector_run.hpp"
#include "host/cli/arguments.hpp"
#include "host/cli/session.hpp"

#include <string>
#include <vector>

namespace quiver::cli {

/// Longest side of a picture that a detector may be asked to look at.
inline constexpr int kMostSide = 16384;

inline constexpr OptionRow kPictureSideOption = {
    .name = "picture-size",
    .value = "N",
    .help = "Longer side in pixels that pictures are scaled to; the model's own where not given"};

/// The detector that MODEL names. Throws Error(usage) where it is no detector.
DetectorRun open_detector(Session& session, const Arguments& arguments);

/// The side that --picture-size asks for, up to the next that the model takes.
int picture_side(const Arguments& arguments, const DetectorInfo& info);

/// Names of all classes of the model.
std::vector<std::string> class_names(const DetectorRun& detector);

}  // namespace quiver::cli
