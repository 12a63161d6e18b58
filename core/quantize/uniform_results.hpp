// What a model is worth with all layers at one width: the yardstick of mixed ones.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/quantize/quantized_folder.hpp"
#include "core/quantize/sensitivity.hpp"

namespace quiver {

/// All layers at `bits`, or another model that is compared.
struct ModelScore {
  int bits = 0;             ///< 0 = not uniform; kKeepBits = the source.
  std::uint64_t bytes = 0;  ///< Of all tensors.
  double bpw_true = 0;
  double kl = 0;  ///< KL(reference || this), mean over scored positions and texts.
  /// At scored positions of the texts that are fed as text; NaN where none is.
  double perplexity = 0;
};

/// The score of a variant, its size aside. `runner` is at phase 0.
ModelScore score_variant(BlockRunner& runner, const WeightVariant& variant,
                         const std::function<bool()>& interrupted);

/// The scores of every width for all layers that have a group size; others stay as they are.
std::vector<ModelScore> uniform_results(BlockRunner& runner,
                                        std::span<const QuantizableLayer> layers,
                                        const FixedSize& fixed, std::span<const int> widths,
                                        const MatrixEncoder& encoder, ThreadPool& threads,
                                        const std::function<bool()>& interrupted);

/// The divergence that a uniform model of `bytes` would have: between the two widths around it,
/// log(KL) linear in bytes; beyond the ends that of the end. 0 where nothing was measured.
double uniform_kl_at(std::span<const ModelScore> uniform, std::uint64_t bytes);

}  // namespace quiver
