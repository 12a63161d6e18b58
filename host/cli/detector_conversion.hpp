// quiver convert on a detector.
#pragma once

#include "core/model/loaded_model.hpp"
#include "host/cli/arguments.hpp"
#include "host/cli/session.hpp"

#include <memory>

namespace quiver::cli {

/// Whether the model finds objects in pictures.
bool is_detector(const LoadedModel& model);

/// What `convert` does with a detector: --calibration names a folder of pictures or one of them.
/// Returns the exit code. Throws as convert_detector().
int convert_detector_as(const Arguments& arguments, Session& session,
                        const std::shared_ptr<const LoadedModel>& model);

}  // namespace quiver::cli
