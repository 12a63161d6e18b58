// What the kernels' benchmarks share: the machine's limits, and measuring against them.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "bench/process_usage.hpp"
#include "core/eval/machine_limits.hpp"
#include "core/kernels/kernel_table.hpp"

namespace quiver::bench {

/// What one thread of this machine does at most, in billions a second of its own CPU time.
class MachineLimits {
 public:
  /// Measures all of them: some two seconds.
  MachineLimits() : rates_(measure_machine(1)) {}

  /// Bytes read from memory.
  double read() const { return read_limit(rates_).cpu / 1e9; }

  /// Operations as by arithmetic_limit(); 0 where no loop measures them.
  double arithmetic(std::string_view kind, std::string_view table) const {
    return arithmetic_limit(rates_, kind, table).cpu / 1e9;
  }

  /// All limits by name.
  const std::vector<MachineRate>& all() const { return rates_; }

 private:
  std::vector<MachineRate> rates_;
};

/// The work of one call of a kernel, and what bounds it; a limit of 0 is not reported.
struct Work {
  double bytes = 0;       ///< read from where they lie
  double operations = 0;  ///< two a multiply-add
  double elements = 0;
  double read_limit = 0;        ///< billions of bytes a second
  double arithmetic_limit = 0;  ///< billions of operations a second
};

/// Runs `body` as long as the benchmark wants and reports rates by CPU time, in billions a second.
/// Other work on the machine thus only counts by what it takes from caches and memory.
template <class Body>
void measure(benchmark::State& state, const Work& work, const Body& body) {
  const Stopwatch watch;
  for (auto _ : state) {
    body();
    benchmark::ClobberMemory();
  }
  const double calls = 1e-9 * static_cast<double>(state.iterations()) / watch.read().cpu;
  const auto report = [&](const char* name, double rate) {
    if (rate > 0) state.counters[name] = rate;
  };
  report("GB/s", work.bytes * calls);
  report("GOP/s", work.operations * calls);
  report("Gelements/s", work.elements * calls);
  if (work.read_limit > 0) report("%read", 100 * work.bytes * calls / work.read_limit);
  if (work.arithmetic_limit > 0) {
    report("%arithmetic", 100 * work.operations * calls / work.arithmetic_limit);
  }
}

struct FreeAligned {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{64}); }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;

/// Memory that starts a cache line, as packed weights and vector loads want it.
inline AlignedBytes allocate_aligned(std::size_t size) {
  return AlignedBytes(static_cast<std::byte*>(::operator new[](size, std::align_val_t{64})));
}

/// Uniform in [-1, 1), always the same ones.
std::vector<float> random_floats(std::size_t count);

/// Registers the benchmarks of one table's kernels of one kind. `limits` and `table` must live
/// until they have run.
void add_float_kernels(const KernelTable& table, const MachineLimits& limits);
void add_packed_kernels(const KernelTable& table, const MachineLimits& limits);
void add_code_conv_kernels(const KernelTable& table, const MachineLimits& limits);
void add_element_kernels(const KernelTable& table);
void add_delta_rule(const KernelTable& table, const MachineLimits& limits);

}  // namespace quiver::bench
