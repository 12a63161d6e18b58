// How much a detector's predictions suffer from each kernel's quantization.
#include "core/quantize/detector_sweep.hpp"

#include <algorithm>
#include <limits>

#include "core/quantize/detection_divergence.hpp"

namespace quiver {
namespace {

/// Where a pass has to begin when the kernel changes.
int block_of(const Conv2dPart& kernel) {
  return std::max(kernel.block, 0);
}

class KernelSweep {
 public:
  explicit KernelSweep(const DetectorSweep& sweep)
      : sweep_(sweep),
        run_(sweep.kernels.shared_model(), sweep.threads),
        work_(parts(), sweep.kernels.formats().bits, sweep.checkpoint, sweep.ranks,
              sweep.progress) {}

  std::vector<WidthDivergences> run() {
    std::size_t open = 0;
    const std::vector<std::size_t>& chosen = sweep_.kernels.chosen();
    for (std::size_t u = 0; u < chosen.size(); ++u) open += work_.wants(u) ? 1 : 0;
    if (open > 0) start();
    for (int block = 0; open > 0; ++block) {
      for (std::size_t u = 0; u < chosen.size(); ++u) {
        if (!work_.wants(u) || block_of(sweep_.kernels.part(chosen[u])) != block) continue;
        work_.measured(u, measure(chosen[u], block));
        --open;
      }
      if (open > 0) advance(block);
    }
    return work_.finish();
  }

 private:
  std::vector<SweepPart> parts() const {
    const int blocks = sweep_.kernels.model().model().block_count();
    std::vector<SweepPart> parts;
    for (const std::size_t index : sweep_.kernels.chosen()) {
      const Conv2dPart& kernel = sweep_.kernels.part(index);
      parts.push_back({kernel.name, static_cast<std::uint64_t>(blocks - block_of(kernel)) *
                                        sweep_.kernels.formats().bits.size() *
                                        sweep_.pictures.size()});
    }
    return parts;
  }

  void check_interrupt() {
    if (work_.interrupted()) throw Error(ErrorCode::interrupted, "interrupted");
  }

  void start() {
    for (const CalibrationPicture& picture : sweep_.pictures) {
      check_interrupt();
      references_.push_back(run_.run(picture.view()));
      streams_.push_back(run_.start(picture.view()));
    }
  }

  void advance(int block) {
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      check_interrupt();
      streams_[i] = run_.advance(sweep_.pictures[i].view(), streams_[i], block);
    }
  }

  WidthDivergences measure(std::size_t index, int block) {
    const Conv2d conv{static_cast<std::int32_t>(index)};
    WidthDivergences kl;
    for (const DetectorKernels::Candidate& candidate : sweep_.kernels.candidates(index)) {
      run_.replace(conv, &candidate.matrix.matrix());
      double& sum = kl[candidate.bits];
      for (std::size_t i = 0; i < streams_.size(); ++i) {
        check_interrupt();
        const RawDetections changed = run_.resume(sweep_.pictures[i].view(), streams_[i], block);
        sum += detection_divergence(references_[i], changed) / static_cast<double>(streams_.size());
      }
    }
    run_.replace(conv, nullptr);
    return kl;
  }

  const DetectorSweep& sweep_;
  DetectorRun run_;
  SharedWork work_;
  std::vector<RawDetections> references_;  ///< By picture.
  std::vector<KeptStream> streams_;        ///< By picture, in front of the block at hand.
};

}  // namespace

std::vector<WidthDivergences> sweep_kernels(const DetectorSweep& sweep) {
  return KernelSweep(sweep).run();
}

double mean_divergence(DetectorRun& reference, DetectorRun& other,
                       std::span<const CalibrationPicture> pictures,
                       const std::function<bool()>& interrupted) {
  double sum = 0;
  for (const CalibrationPicture& picture : pictures) {
    if (interrupted()) throw Error(ErrorCode::interrupted, "interrupted");
    sum += detection_divergence(reference.run(picture.view()), other.run(picture.view())) /
           static_cast<double>(pictures.size());
  }
  return sum;
}

std::vector<ModelScore> uniform_detectors(const DetectorSweep& sweep, std::uint64_t fixed_bytes,
                                          std::uint64_t parameters,
                                          const std::function<bool()>& interrupted) {
  DetectorKernels& kernels = sweep.kernels;
  DetectorRun reference(kernels.shared_model(), sweep.threads);
  DetectorRun uniform(kernels.shared_model(), sweep.threads);
  std::vector<ModelScore> scores;
  for (const int bits : kernels.formats().bits) {
    ModelScore score;
    score.bits = bits;
    score.bytes = fixed_bytes;
    for (const std::size_t index : kernels.chosen()) {
      const StoredMatrix& matrix = kernels.find(index, bits)->matrix();
      uniform.replace(Conv2d{static_cast<std::int32_t>(index)}, &matrix);
      score.bytes += matrix.size_bytes();
    }
    score.bpw_true = 8.0 * static_cast<double>(score.bytes) / static_cast<double>(parameters);
    score.kl = mean_divergence(reference, uniform, sweep.pictures, interrupted);
    score.perplexity = std::numeric_limits<double>::quiet_NaN();
    scores.push_back(score);
  }
  return scores;
}

}  // namespace quiver
