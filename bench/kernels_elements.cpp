// Benchmarks of the elementwise kernels, on values that stay in the first-level cache.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>

#include "bench/kernel_limits.hpp"

namespace quiver::bench {
namespace {

constexpr int kCount = 3072;

using Gate = void (*)(const float*, float*, std::size_t);

void add_gate(const char* what, const KernelTable& table, Gate gate) {
  benchmark::RegisterBenchmark(fmt::format("{}/{}", what, table.name).c_str(),
                               [=](benchmark::State& state) {
                                 const std::vector<float> gates = random_floats(kCount);
                                 // Products of a gate that is applied again and again would end
                                 // among denormals.
                                 const std::vector<float> fresh = random_floats(kCount);
                                 std::vector<float> values(kCount);
                                 measure(state, {.bytes = 8.0 * kCount, .elements = kCount}, [&] {
                                   std::copy(fresh.begin(), fresh.end(), values.begin());
                                   gate(gates.data(), values.data(), kCount);
                                 });
                               });
}

}  // namespace

void add_element_kernels(const KernelTable& table) {
  const ElementKernels& elements = *table.elements;
  add_gate("silu_multiply", table, elements.silu_multiply);
  add_gate("gelu_tanh_multiply", table, elements.gelu_tanh_multiply);
  add_gate("sigmoid_multiply", table, elements.sigmoid_multiply);
  benchmark::RegisterBenchmark(
      fmt::format("largest/{}", table.name).c_str(), [&elements](benchmark::State& state) {
        const std::vector<float> values = random_floats(kCount);
        measure(state, {.bytes = 4.0 * kCount, .elements = kCount},
                [&] { benchmark::DoNotOptimize(elements.largest(values.data(), kCount)); });
      });
  benchmark::RegisterBenchmark(
      fmt::format("exp_sum/{}", table.name).c_str(), [&elements](benchmark::State& state) {
        // Its own results are as good as any others: they stay between e^-2 and e^0.
        std::vector<float> values = random_floats(kCount);
        measure(state, {.bytes = 4.0 * kCount, .elements = kCount},
                [&] { benchmark::DoNotOptimize(elements.exp_sum(values.data(), kCount, 1.0F)); });
      });
  benchmark::RegisterBenchmark(
      fmt::format("softmax_rows/{}", table.name).c_str(), [&elements](benchmark::State& state) {
        // A page's scores of a few queries; none is above the first top, so they stay near 0.
        constexpr int kRows = 4;
        constexpr int kSlots = 64;
        std::vector<float> scores = random_floats(kRows * kSlots);
        float tops[kRows] = {1, 1, 1, 1};
        float totals[kRows];
        measure(state, {.bytes = 4.0 * kRows * kSlots, .elements = kRows * kSlots}, [&] {
          elements.softmax_rows(scores.data(), kSlots, kRows, kSlots, tops, totals);
          benchmark::DoNotOptimize(totals);
        });
      });
}

}  // namespace quiver::bench
