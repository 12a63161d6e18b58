// How well a model predicts a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "core/decode/engine.hpp"

namespace quiver {

struct Perplexity {
  double nll = 0;          ///< Mean negative log-likelihood of the scored tokens, in nats.
  double perplexity = 0;   ///< exp(nll)
  std::size_t tokens = 0;  ///< Scored tokens.
};

struct PerplexityOptions {
  std::size_t context = 0;  ///< Tokens of a window; 0 = the model's context, or all tokens.
  std::size_t stride = 0;   ///< Distance between windows; 0 = context: windows do not overlap.
  std::function<bool(std::size_t done, std::size_t total)> progress;  ///< false interrupts.
};

/// Scores every token after the first of each window once: with overlapping windows a token is
/// scored in the first window that reaches it, with as many tokens before it as that window has.
/// perplexity = exp(mean nll). Throws Error(bad_input) for fewer than two tokens.
Perplexity perplexity(Engine& engine, std::span<const std::int32_t> tokens,
                      const PerplexityOptions& options);

/// -log softmax(logits)[token], computed in double.
double negative_log_likelihood(std::span<const float> logits, std::int32_t token);

}  // namespace quiver
