// How far a model's predictions are from those of a reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/decode/engine.hpp"

namespace quiver {

struct Divergence {
  double mean = 0;  ///< Of KL(reference || model) over the tokens, in nats.
  double median = 0;
  double p95 = 0;             ///< 95th percentile.
  double top1_agreement = 0;  ///< Share of tokens where both find the same one most likely.
  std::size_t tokens = 0;
};

struct DivergenceOptions {
  std::size_t context = 0;  ///< Tokens of a window; 0 = the shorter context, or all tokens.
  /// Feed token by token, as decoding does, instead of in chunks of a prompt.
  bool is_decoding = false;
  std::function<bool(std::size_t done, std::size_t total)> progress;  ///< false interrupts.
};

/// KL(p || q) = sum_i p_i (log p_i - log q_i) of two rows of logits, within some 1e-8 nats; close
/// to 0 it may come out that much below. Throws Error(bad_input) where a logit is not finite.
/// [any-thread]
double kl_divergence(std::span<const float> reference, std::span<const float> logits);

/// Compares the predictions behind every token of the text, window by window. Throws
/// Error(bad_input) where the vocabularies differ or the text is empty.
Divergence divergence(Engine& engine, Engine& reference, std::span<const std::int32_t> tokens,
                      const DivergenceOptions& options);

/// The same of several texts, none of which sees another; figures are over the tokens of all.
Divergence divergence(Engine& engine, Engine& reference,
                      std::span<const std::vector<std::int32_t>> texts,
                      const DivergenceOptions& options);

}  // namespace quiver
