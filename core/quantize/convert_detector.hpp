// Measures a detector, chooses widths under a budget, and writes the quantized folder.
#pragma once

#include <memory>
#include <vector>

#include "core/quantize/convert.hpp"
#include "core/vision/detector_run.hpp"

namespace quiver {

/// A picture of the calibration, ready for the detector.
struct CalibrationPicture {
  std::vector<float> values;  ///< [height, width, 3]
  int height = 0;
  int width = 0;

  PictureView view() const { return {values, height, width}; }
};

/// Chooses widths as the reference package does for detectors: all at the narrowest; upgrades from
/// there by falling benefit for each bit added, until the mean width of the values reaches the
/// target; one that costs more than 1.05 times what is left is passed over. A unit moves once.
/// Returns choices by unit. REQUIRES: all units have the same widths. [any-thread]
std::vector<std::size_t> allocate_detector_greedy(const AllocationProblem& problem,
                                                  double target_bpw);

/// Converts a detector into the folder `out`, which appears when it is complete and has been read
/// back. A kernel is measured by detection_divergence() over the pictures, with ConvertSensitivity
/// weight_error (and by rules) by weight_damage() and no picture. Dense kernels are quantized;
/// depthwise ones gain nothing by it and stay, the first convolution and those of the head's end
/// keep the widest candidate. With `is_optiq` all kernels are treated alike, as the reference
/// package does. What `means` says of texts, ranks and caches is not looked at. Throws as convert()
/// does, and Error(usage) where pictures are needed and there are none.
Conversion convert_detector(std::shared_ptr<const LoadedModel> model,
                            const std::vector<CalibrationPicture>& pictures,
                            const std::filesystem::path& out, const ConvertOptions& options,
                            const ConvertMeans& means);

}  // namespace quiver
