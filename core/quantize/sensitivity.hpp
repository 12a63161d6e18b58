// How much a model's predictions suffer from each layer's quantization.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <quiver/weights.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/quantize/block_runner.hpp"
#include "core/quantize/encoded_matrix.hpp"

namespace quiver {

/// A matrix of the model that can be quantized by itself. The model outlives it.
struct QuantizableLayer {
  std::string name;  ///< As in the checkpoint, without ".weight".
  Role role = Role::other;
  int block = -1;  ///< -1 = none.
  const StoredMatrix* matrix = nullptr;
  int group_size = 0;             ///< 0: no group size fits, the layer stays as it is.
  int phase = -1;                 ///< The first that uses it (see BlockRunner); -1 = none did.
  std::vector<float> importance;  ///< Mean squares of its inputs, by column; empty = not seen.
  int experts = 0;                ///< Of a stack, which is one layer: its matrices; 0 = no stack.

  std::int64_t parameters() const { return matrix->rows * matrix->columns; }
};

/// All linears and embeddings of a model in the order in which it took them, but for those of draft
/// heads and others that belong to a sidecar: texts do not pass them. A layer whose columns
/// `group_size` does not divide gets the largest smaller group size of the scheme's formats that
/// does.
std::vector<QuantizableLayer> quantizable_layers(const LoadedModel& model,
                                                 const QuantScheme& scheme, int group_size);

/// Width that stands for "as it is in the checkpoint".
inline constexpr int kKeepBits = 16;

/// Divergence by width, in nats a token.
using WidthDivergences = std::map<int, double>;

struct SweepOptions {
  std::vector<int> bits;  ///< Widths to measure; kKeepBits is 0 by definition and not run.
  MatrixEncoder encoder;
};

/// Runs the reference once over the texts and fills in each layer's phase and, if wanted,
/// importance.
void trace_layers(BlockRunner& runner, std::span<QuantizableLayer> layers, bool wants_importance);

/// What a sweep tells and asks on its way. All may be empty.
struct SweepHooks {
  /// Whether layer `index` is to be measured here; others are passed over.
  std::function<bool(std::size_t index)> wants;
  /// A layer has been measured.
  std::function<void(std::size_t index, const WidthDivergences& kl)> measured;
  /// true ends the sweep with Error(interrupted) after what has been measured.
  std::function<bool()> interrupted;
};

/// Measures KL(reference || model with one layer quantized) for every layer that a text used and
/// every width, mean over scored positions and over texts; see BlockRunner for what the figures do
/// not depend on. Layers are visited in the order of their phases. `reference_bits` is the width
/// whose encoding the reference itself computes with in every layer (0 = none): it diverges by 0.
void measure_layers(BlockRunner& runner, std::span<const QuantizableLayer> layers,
                    const SweepOptions& options, int reference_bits, ThreadPool& threads,
                    const SweepHooks& hooks);

/// An estimate without running variants: sum_ij m_j (w_ij - q_ij)^2 / sum_ij m_j w_ij^2, the share
/// of the layer's output that quantizing to each width loses; m is the layer's importance, 1 where
/// there is none. Comparable between widths of a layer, and roughly between layers; no divergence.
WidthDivergences weight_errors(const QuantizableLayer& layer, const SweepOptions& options,
                               ThreadPool& threads);

/// Mean over texts.
double mean(const TextDivergences& texts);

}  // namespace quiver
