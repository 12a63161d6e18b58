// Benchmarks of the gated delta rule beside the limits of memory and arithmetic.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>

#include "bench/kernel_limits.hpp"
#include "core/ops/delta_rule.hpp"

namespace quiver::bench {
namespace {

constexpr DeltaRuleShape kShape{128, 128};
constexpr std::size_t kDim = 128;
constexpr std::size_t kState = kDim * kDim;
/// Heads of all layers of a small model: their states are 18 MiB, as a decoded token walks over
/// them. Texts in a batch have states of their own, so four of them lie far from any cache.
constexpr std::size_t kHeads = std::size_t{16} * 18;
constexpr std::size_t kTexts = 4;
constexpr int kPromptRows = 256;

/// Inputs of `rows` rows with the magnitudes that a model has.
struct Inputs {
  explicit Inputs(int rows)
      : count(static_cast<std::size_t>(rows)),
        q(random_floats(count * kDim)),
        k(random_floats(count * kDim)),
        v(random_floats(count * kDim)),
        beta(count, 0.5F),
        log_decay(count, -0.1F),
        delta(count * kDim),
        decay(count),
        out(count * kDim) {
    delta_rule_normalise(q.data(), rows, kShape.key_dim, 0.088F);
    delta_rule_normalise(k.data(), rows, kShape.key_dim, 1);
  }
  DeltaRuleRows rows() const {
    return {static_cast<int>(count), 0, q.data(), k.data(), kDim, v.data(), kDim, beta.data(),
            log_decay.data(),        1};
  }
  DeltaRuleResults results() { return {delta.data(), kDim, decay.data(), 1, out.data(), kDim}; }
  /// The first `rows` rows, once they have been computed.
  DeltaRuleUpdates updates(int rows) const {
    return {rows, k.data(), kDim, delta.data(), kDim, decay.data(), 1};
  }

  std::size_t count;
  std::vector<float> q, k, v, beta, log_decay, delta, decay, out;
};

/// Bytes read are counted as the limit counts them; what is written back comes on top.
void steps(benchmark::State& state, const KernelTable& table, int rows, int settled,
           const MachineLimits& limits) {
  const AlignedBytes memory = allocate_aligned(kTexts * kHeads * kState * sizeof(float));
  auto* states = reinterpret_cast<float*>(memory.get());
  std::fill_n(states, kTexts * kHeads * kState, 0.01F);
  Inputs inputs(rows);
  const DeltaRuleUpdates updates = inputs.updates(settled);
  std::vector<float> scratch(delta_rule_scratch(kShape, false));
  std::size_t head = 0;
  const int operations = 3 * settled + 7 * rows - 3;
  const Work work{.bytes = sizeof(float) * kState,
                  .operations = static_cast<double>(operations) * kState,
                  .read_limit = limits.read(),
                  .arithmetic_limit = limits.arithmetic("fma", table.name)};
  measure(state, work, [&] {
    delta_rule_steps(kShape, states + head * kState, updates, inputs.rows(), inputs.results(),
                     scratch, table);
    head = (head + 1) % (kTexts * kHeads);
  });
}

/// Operations are those of the products, triangles counted as triangles.
void chunks(benchmark::State& state, const KernelTable& table, double limit) {
  const AlignedBytes memory = allocate_aligned(2 * kState * sizeof(float));
  auto* first = reinterpret_cast<float*>(memory.get());
  std::fill_n(first, 2 * kState, 0.01F);
  Inputs inputs(kPromptRows);
  std::vector<float> scratch(delta_rule_scratch(kShape, true));
  const double per_row = 6.0 * kState + 4.0 * kDeltaRuleChunk * kDim;
  const Work work{
      .operations = per_row * kPromptRows, .elements = kPromptRows, .arithmetic_limit = limit};
  measure(state, work, [&] {
    delta_rule_chunks(kShape, first, inputs.rows(), first + kState, inputs.out.data(), kDim,
                      scratch, table);
  });
}

}  // namespace

void add_delta_rule(const KernelTable& table, const MachineLimits& limits) {
  const auto add_steps = [&](int rows, int settled) {
    const auto name =
        fmt::format("delta_rule/steps/rows:{}/settled:{}/{}", rows, settled, table.name);
    benchmark::RegisterBenchmark(name.c_str(), [=, &table, &limits](benchmark::State& state) {
      steps(state, table, rows, settled, limits);
    });
  };
  add_steps(1, 0);
  add_steps(1, 1);
  add_steps(2, 2);
  add_steps(4, 0);
  add_steps(4, 1);
  add_steps(4, 4);
  const double limit = limits.arithmetic("fma", table.name);
  benchmark::RegisterBenchmark(
      fmt::format("delta_rule/chunks/rows:{}/{}", kPromptRows, table.name).c_str(),
      [=, &table](benchmark::State& state) { chunks(state, table, limit); });
}

}  // namespace quiver::bench
