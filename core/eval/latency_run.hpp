// How fast a model really runs here.
#pragma once

#include <cstddef>
#include <functional>

#include "core/decode/engine.hpp"

namespace quiver {

struct LatencyRunOptions {
  int prompt = Engine::kPromptGrid;  ///< Tokens of the prompt that is timed.
  int context = 0;                   ///< Tokens in the cache before decoding is timed.
  int generated = 16;                ///< Tokens decoded in each run.
  int runs = 5;                      ///< After one that is not counted.
  std::function<bool(std::size_t done, std::size_t total)> progress{};  ///< false interrupts.
};

struct LatencyRun {
  double decode_tps = 0;
  double prefill_tps = 0;
};

/// Medians over runs with made-up tokens. Throws Error(usage) where they do not fit the model's
/// context, Error(interrupted). [one-call-at-a-time]
LatencyRun run_latency(Engine& engine, const LatencyRunOptions& options);

}  // namespace quiver
