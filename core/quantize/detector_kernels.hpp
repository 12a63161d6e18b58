// The kernels of a detector that may be quantized, at the widths that they may get.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "core/model/loaded_model.hpp"
#include "core/quantize/encoded_matrix.hpp"

namespace quiver {

/// What kernels are quantized to.
struct KernelFormats {
  std::vector<int> bits;  ///< By ascending width, none that keeps.
  int group_size = 64;
  bool has_depthwise = false;  ///< Whether depthwise kernels are quantized too.
};

/// Encodings are made when they are first asked for, and stay. [one-call-at-a-time]
class DetectorKernels {
 public:
  struct Candidate {
    int bits;
    EncodedMatrix matrix;
  };

  /// Scheme and threads outlive the object.
  DetectorKernels(std::shared_ptr<const LoadedModel> model, KernelFormats formats,
                  MatrixEncoder encoder, ThreadPool& threads);

  const LoadedModel& model() const noexcept { return *model_; }
  const std::shared_ptr<const LoadedModel>& shared_model() const noexcept { return model_; }
  const KernelFormats& formats() const noexcept { return formats_; }

  /// Which of the model's convolutions they are, ascending.
  const std::vector<std::size_t>& chosen() const noexcept { return chosen_; }

  const Conv2dPart& part(std::size_t conv) const {
    return model_->weights().images().convs()[conv];
  }

  /// The encodings of one of chosen(), by ascending width. Throws Error(bad_input) where weights
  /// are not finite. The reference is good as long as the object.
  const std::vector<Candidate>& candidates(std::size_t conv);

  /// The one of that width; nullptr for a width that is none of formats().
  const EncodedMatrix* find(std::size_t conv, int bits);

  /// The reference package's weight_damage() of each width, the zeros that fill rows up left out.
  std::map<int, double> damage(std::size_t conv);

 private:
  std::shared_ptr<const LoadedModel> model_;
  KernelFormats formats_;
  MatrixEncoder encoder_;
  ThreadPool& threads_;
  std::vector<std::size_t> chosen_;
  std::map<std::size_t, std::vector<Candidate>> candidates_;
};

}  // namespace quiver
