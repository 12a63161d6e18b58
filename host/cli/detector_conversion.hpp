// quiver convert on a detector.
#pragma once

#include "core/model/loaded_model.hpp"
#include "host/cli/conversion.hpp"

#include <memory>

namespace quiver::cli {

/// Whether the model finds objects in pictures.
bool is_detector(const LoadedModel& model);

/// What `convert` does with a detector: --calibration names a folder of pictures or one of them.
/// Throws as convert_detector().
void convert_detector_model(const ConversionRun& run,
                            const std::shared_ptr<const LoadedModel>& model);

}  // namespace quiver::cli
