// The sensitivity sweep with its checkpoint, shared by the ranks of a job.
#pragma once

#include <functional>
#include <quiver/error.hpp>
#include <span>
#include <vector>

#include "core/quantize/ranks.hpp"
#include "core/quantize/sensitivity.hpp"
#include "core/quantize/sweep_checkpoint.hpp"

namespace quiver {

/// What the sweep works with.
struct SharedSweep {
  BlockRunner& runner;
  std::span<const QuantizableLayer> layers;  ///< Traced.
  const SweepOptions& options;
  int reference_bits = 0;
  ThreadPool& threads;
  SweepCheckpoint* checkpoint = nullptr;  ///< In rank 0 only.
  Ranks* ranks = nullptr;                 ///< nullptr = this process alone.
  /// Work done and to do, in passes of a text through a block; true interrupts.
  std::function<bool(std::uint64_t done, std::uint64_t total)> progress;
};

/// Work of measuring one layer at all widths, in passes of all texts through one phase.
std::uint64_t layer_work(const BlockRunner& runner, const QuantizableLayer& layer,
                         const SweepOptions& options);

/// Measures what the checkpoint lacks; every result is in it when the call returns or throws.
/// Layers are dealt out to the ranks in turn. Gives the divergences by layer (empty for those that
/// no text uses); in ranks other than 0 an empty list. Word from a rank
/// that failed (send_failure()) ends the sweep with its Error.
std::vector<WidthDivergences> sweep_layers(const SharedSweep& sweep);

/// Tells rank 0 why this rank gives up.
void send_failure(Ranks& ranks, const Error& error);

}  // namespace quiver
