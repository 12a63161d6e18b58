// What a model is worth with all layers at one width: the yardstick of mixed ones.
#include "core/quantize/uniform_results.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace quiver {

ModelScore score_variant(BlockRunner& runner, const WeightVariant& variant,
                         const std::function<bool()>& interrupted) {
  const TextScores scores = runner.scores({&variant, 1}, true, interrupted)[0];
  ModelScore score;
  score.kl = mean(scores.kl);
  score.perplexity =
      scores.nll.empty() ? std::numeric_limits<double>::quiet_NaN() : std::exp(mean(scores.nll));
  return score;
}

std::vector<ModelScore> uniform_results(BlockRunner& runner,
                                        std::span<const QuantizableLayer> layers,
                                        const FixedSize& fixed, std::span<const int> widths,
                                        const MatrixEncoder& encoder, ThreadPool& threads,
                                        const std::function<bool()>& interrupted) {
  std::vector<ModelScore> results;
  for (const int bits : widths) {
    std::vector<EncodedMatrix> encoded;
    encoded.reserve(layers.size());
    WeightVariant variant;
    std::uint64_t bytes = fixed.bytes;
    std::uint64_t parameters = fixed.parameters;
    for (const QuantizableLayer& layer : layers) {
      parameters += static_cast<std::uint64_t>(layer.parameters());
      if (layer.group_size == 0 || bits == kKeepBits) {
        bytes += layer.matrix->size_bytes();
        variant.push_back({layer.matrix, layer.matrix});
        continue;
      }
      encoded.emplace_back(*layer.matrix, layer.name, QuantFormat{bits, layer.group_size}, encoder,
                           layer.importance, threads);
      bytes += encoded.back().matrix().size_bytes();
      variant.push_back({layer.matrix, &encoded.back().matrix()});
    }
    ModelScore score = score_variant(runner, variant, interrupted);
    score.bits = bits;
    score.bytes = bytes;
    score.bpw_true = 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
    results.push_back(score);
  }
  return results;
}

double uniform_kl_at(std::span<const ModelScore> uniform, std::uint64_t bytes) {
  if (uniform.empty()) return 0;
  const auto above = std::ranges::find_if(uniform, [&](const auto& u) { return u.bytes >= bytes; });
  if (above == uniform.begin()) return uniform.front().kl;
  if (above == uniform.end()) return uniform.back().kl;
  const ModelScore& low = *std::prev(above);
  if (low.kl <= 0 || above->kl <= 0) return low.kl;
  const double part =
      static_cast<double>(bytes - low.bytes) / static_cast<double>(above->bytes - low.bytes);
  return std::exp((1 - part) * std::log(low.kl) + part * std::log(above->kl));
}

}  // namespace quiver
