// Measures a detector, chooses widths under a budget, and writes the quantized folder.
#pragma once

#include <memory>
#include <vector>

#include "core/quantize/convert.hpp"
#include "core/quantize/detector_sweep.hpp"

namespace quiver {

/// Converts a detector into the folder `out`, which appears when it is complete and has been read
/// back; until then what has been measured is kept beside it (SweepCheckpoint). A kernel is
/// measured by detection_divergence() over the pictures, with ConvertSensitivity weight_error (and
/// by rules) by weight_damage() and no picture. Dense kernels are quantized; depthwise ones gain
/// nothing by it and stay, the first convolution and those of the head's end keep the widest
/// candidate. With `is_optiq` all kernels are treated alike, as the reference package does. What
/// `means` and `options` say of texts and caches is not looked at. Ranks, interruptions and what is
/// thrown are as convert() has them; Error(usage) where pictures are needed and there are none.
Conversion convert_detector(std::shared_ptr<const LoadedModel> model,
                            const std::vector<CalibrationPicture>& pictures,
                            const std::filesystem::path& out, const ConvertOptions& options,
                            const ConvertMeans& means);

}  // namespace quiver
