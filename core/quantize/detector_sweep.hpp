// How much a detector's predictions suffer from each kernel's quantization.
#pragma once

#include <span>
#include <vector>

#include "core/quantize/detector_kernels.hpp"
#include "core/quantize/shared_work.hpp"
#include "core/quantize/uniform_results.hpp"
#include "core/vision/detector_run.hpp"

namespace quiver {

/// A picture of the calibration, ready for the detector.
struct CalibrationPicture {
  std::vector<float> values;  ///< [height, width, 3]
  int height = 0;
  int width = 0;

  PictureView view() const { return {values, height, width}; }
};

/// What the sweep works with.
struct DetectorSweep {
  DetectorKernels& kernels;
  std::span<const CalibrationPicture> pictures;
  ThreadPool& threads;
  SweepCheckpoint* checkpoint = nullptr;  ///< In rank 0 only.
  Ranks* ranks = nullptr;                 ///< nullptr = this process alone.
  SharedWork::Progress progress;          ///< In passes of a picture through a block.
};

/// Measures what the checkpoint lacks, as SharedWork deals it out: detection_divergence() of the
/// model with one kernel quantized, mean over the pictures. Of each picture one stream is kept at a
/// time, in front of the block that is being measured. Gives the divergences by kernel, in the
/// order of DetectorKernels::chosen(); in ranks other than 0 an empty list. A figure depends
/// neither on threads, nor on ranks, nor on what else is measured.
std::vector<WidthDivergences> sweep_kernels(const DetectorSweep& sweep);

/// Divergence of a detector from another one, mean over the pictures.
double mean_divergence(DetectorRun& reference, DetectorRun& other,
                       std::span<const CalibrationPicture> pictures,
                       const std::function<bool()>& interrupted);

/// The scores of every width of the formats for all kernels, those of the ends too. `fixed_bytes`
/// and `parameters` are of everything else and of everything.
std::vector<ModelScore> uniform_detectors(const DetectorSweep& sweep, std::uint64_t fixed_bytes,
                                          std::uint64_t parameters,
                                          const std::function<bool()>& interrupted);

}  // namespace quiver
