// The sensitivity sweep with its checkpoint, shared by the ranks of a job.
#pragma once

#include <span>
#include <vector>

#include "core/quantize/shared_work.hpp"

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
  SharedWork::Progress progress;          ///< In passes of a text through a block.
};

/// Work of measuring one layer at all widths, in passes of all texts through one phase.
std::uint64_t layer_work(const BlockRunner& runner, const QuantizableLayer& layer,
                         const SweepOptions& options);

/// Measures what the checkpoint lacks, as SharedWork deals it out. Gives the divergences by layer
/// (empty for those that no text uses); in ranks other than 0 an empty list.
std::vector<WidthDivergences> sweep_layers(const SharedSweep& sweep);

}  // namespace quiver
