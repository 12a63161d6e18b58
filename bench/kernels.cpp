// Speed of the kernels of every table that this machine can run, beside what the machine allows.
//
// Names end with the table: --benchmark_filter='packed/cache/int16/bits:4/group:64/.*avx2$'.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "bench/kernel_limits.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const quiver::bench::MachineLimits limits;
  fmt::print("One thread of this machine, in GB/s or GOP/s of its CPU time:\n");
  for (const quiver::MachineRate& rate : limits.all()) {
    fmt::print("  {:<30} {:7.1f}\n", rate.name, rate.cpu / 1e9);
  }
  fmt::print(
      "'%read' is of the best reading loop, '%arithmetic' of the loop with the same kind of\n"
      "product and the table's instructions.\n\n");
  for (const quiver::KernelTable* table : quiver::available_kernels()) {
    quiver::bench::add_float_kernels(*table, limits);
    quiver::bench::add_packed_kernels(*table, limits);
    quiver::bench::add_code_conv_kernels(*table, limits);
    quiver::bench::add_element_kernels(*table);
    quiver::bench::add_delta_rule(*table, limits);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
