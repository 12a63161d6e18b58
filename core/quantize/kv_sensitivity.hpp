// How much a model's predictions suffer from storing each layer's keys and values in few bits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/cache/kv_plan.hpp"
#include "core/model/loaded_model.hpp"
#include "core/quantize/calibration_input.hpp"
#include "core/quantize/sensitivity.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// A block that keeps keys and values, and what it loses by each width.
struct KvLayerSensitivity {
  int block = 0;
  std::string name;  ///< What the names of the block's tensors begin with.
  int kv_heads = 0;
  int head_dim = 0;
  std::uint64_t page_numbers = 0;           ///< Of KvStrategy::kTokens tokens, keys and values.
  std::map<int, std::uint64_t> page_bytes;  ///< By bits: what these numbers take.
  /// With both stored in so many bits, in nats a token, never negative. Where keys and values were
  /// measured apart this is the sum.
  WidthDivergences kl;
  WidthDivergences key_kl;    ///< Keys alone; empty where they were not measured apart.
  WidthDivergences value_kl;  ///< Values alone; likewise.
};

/// Makes the strategy of a pair of widths. Throws Error(usage) for widths that it lacks.
using KvStrategyMaker =
    std::function<std::shared_ptr<const KvStrategy>(int key_bits, int value_bits)>;

/// What the measurement works with.
struct KvSweep {
  std::shared_ptr<const LoadedModel> model;
  std::shared_ptr<const KvStrategy> full;  ///< Stores float32: what the reference keeps.
  KvStrategyMaker make;
  ThreadPool& threads;
  /// Tokens passed through the model and to be passed; false ends with Error(interrupted).
  std::function<bool(std::uint64_t done, std::uint64_t total)> progress;
};

/// KL(reference || plan) of each plan, mean over the tokens of a text and over texts, in float32
/// throughout; the reference stores everything in `full`. Each text is fed under its own
/// visibility. New tokens are written before they are attended to, so a prompt meets its own stored
/// keys and values. The figures do not depend on the number of threads or on the other plans.
/// Throws Error(bad_input) for a text without tokens, ids outside the vocabulary and logits that
/// are not finite, Error(resources) where the logits of a text do not fit into memory.
/// [one-call-at-a-time]
std::vector<double> kv_divergences(const KvSweep& sweep, std::span<const CalibrationInput> texts,
                                   std::span<const KvPlan> plans);

/// A plan that stores one block's keys and values by a strategy, the others in `full`.
KvPlan plan_of_block(const WeightStore& weights, std::shared_ptr<const KvStrategy> full, int block,
                     const std::shared_ptr<const KvStrategy>& strategy);

/// Measures every block that keeps keys and values, alone, at every width; other state is not
/// touched. `is_apart` measures keys and values by themselves instead of together. `bits` is
/// ascending. Throws Error(bad_input) where no block keeps any or where no width of any of them
/// makes a difference of 1e-6 nats, and as kv_divergences() does. [one-call-at-a-time]
std::vector<KvLayerSensitivity> measure_kv(const KvSweep& sweep,
                                           std::span<const CalibrationInput> texts,
                                           std::span<const int> bits, bool is_apart);

/// kv_sensitivity.json: a list of {"layer_idx", "layer_name", "sensitivities", "n_kv_heads",
/// "head_dim"}, with "k_sensitivities" and "v_sensitivities" where they were measured apart.
/// [any-thread]
nlohmann::json kv_sensitivity_record(std::span<const KvLayerSensitivity> layers);

}  // namespace quiver
