// The sensitivity sweep with its checkpoint, shared by the ranks of a job.
#include "core/quantize/shared_sweep.hpp"

namespace quiver {

std::uint64_t layer_work(const BlockRunner& runner, const QuantizableLayer& layer,
                         const SweepOptions& options) {
  return static_cast<std::uint64_t>(runner.phases() - layer.phase) * options.bits.size();
}

std::vector<WidthDivergences> sweep_layers(const SharedSweep& sweep) {
  std::vector<SweepPart> parts;
  for (const QuantizableLayer& layer : sweep.layers) {
    const bool is_measurable = layer.phase >= 0 && layer.group_size != 0;
    parts.push_back(
        {layer.name, is_measurable ? layer_work(sweep.runner, layer, sweep.options) : 0});
  }
  SharedWork work(std::move(parts), sweep.options.bits, sweep.checkpoint, sweep.ranks,
                  sweep.progress);
  SweepHooks hooks;
  hooks.wants = [&](std::size_t index) { return work.wants(index); };
  hooks.measured = [&](std::size_t index, const WidthDivergences& kl) { work.measured(index, kl); };
  hooks.interrupted = [&] { return work.interrupted(); };
  measure_layers(sweep.runner, sweep.layers, sweep.options, sweep.reference_bits, sweep.threads,
                 hooks);
  return work.finish();
}

}  // namespace quiver
