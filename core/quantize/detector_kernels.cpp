// The kernels of a detector that may be quantized, at the widths that they may get.
#include "core/quantize/detector_kernels.hpp"

#include "core/quantize/detection_divergence.hpp"
#include "core/quantize/detector_folder.hpp"

namespace quiver {

DetectorKernels::DetectorKernels(std::shared_ptr<const LoadedModel> model, KernelFormats formats,
                                 MatrixEncoder encoder, ThreadPool& threads)
    : model_(std::move(model)),
      formats_(std::move(formats)),
      encoder_(std::move(encoder)),
      threads_(threads) {
  const auto convs = model_->weights().images().convs();
  for (std::size_t i = 0; i < convs.size(); ++i) {
    if (formats_.has_depthwise || !convs[i].is_depthwise) chosen_.push_back(i);
  }
}

const std::vector<DetectorKernels::Candidate>& DetectorKernels::candidates(std::size_t conv) {
  const auto found = candidates_.find(conv);
  if (found != candidates_.end()) return found->second;
  const Conv2dPart& kernel = part(conv);
  const std::vector<float> values = padded_kernel(kernel, formats_.group_size);
  StoredMatrix dense;
  dense.rows = kernel.outputs;
  dense.columns = padded_columns(kernel.columns, formats_.group_size);
  dense.dense = std::as_bytes(std::span(values));
  std::vector<Candidate>& candidates = candidates_[conv];
  for (const int bits : formats_.bits) {
    candidates.push_back({bits, EncodedMatrix(dense, kernel.name, {bits, formats_.group_size},
                                              encoder_, {}, threads_)});
  }
  return candidates;
}

const EncodedMatrix* DetectorKernels::find(std::size_t conv, int bits) {
  for (const Candidate& candidate : candidates(conv)) {
    if (candidate.bits == bits) return &candidate.matrix;
  }
  return nullptr;
}

std::map<int, double> DetectorKernels::damage(std::size_t conv) {
  const Conv2dPart& kernel = part(conv);
  const std::vector<float> values = padded_kernel(kernel, formats_.group_size);
  const auto columns = static_cast<std::size_t>(kernel.columns);
  const std::size_t padded = values.size() / static_cast<std::size_t>(kernel.outputs);
  std::map<int, double> damage;
  std::vector<float> decoded(values.size());
  for (const Candidate& candidate : candidates(conv)) {
    candidate.matrix.matrix().decode(0, kernel.outputs, decoded);
    std::vector<float> before;
    std::vector<float> after;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i % padded >= columns) continue;
      before.push_back(values[i]);
      after.push_back(decoded[i]);
    }
    damage[candidate.bits] = weight_damage(before, after);
  }
  return damage;
}

}  // namespace quiver
