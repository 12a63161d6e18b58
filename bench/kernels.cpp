// Speed of the kernels of every table that this machine can run, beside what the machine allows.
#include "bench/roofline.hpp"
#include "core/kernels/kernel_table.hpp"

#include <benchmark/benchmark.h>
#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace {

using quiver::KernelTable;

// One slab of weights as a forward pass cuts it: 32 outputs of 1024 inputs are 128 KiB.
constexpr int kInputs = 1024;
constexpr int kOutputs = 32;

// Stored weights that lie in memory, not in a cache: 128 MiB, whole rows in every format.
constexpr std::size_t kStoredBytes = std::size_t{128} << 20U;
constexpr int kColumns = 4096;
constexpr int kGroup = 64;
constexpr std::size_t kHalfRowBytes = std::size_t{2} * kColumns;

std::vector<float> random_floats(std::size_t count) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> result(count);
  for (float& value : result) value = values(generator);
  return result;
}

/// Bytes that are codes, and finite numbers where they are read as 16-bit floats.
const std::vector<std::uint8_t>& stored_bytes() {
  static const std::vector<std::uint8_t> kBytes(kStoredBytes, 0x3b);
  return kBytes;
}

/// Runs `body` for as long as the benchmark wants, and reports its rate: `amount` a call, in units
/// of which the machine does `peak` a second.
template <class Body>
void measure(benchmark::State& state, const char* unit, double amount, double peak,
             const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    body();
    benchmark::ClobberMemory();
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const double rate = amount * static_cast<double>(state.iterations()) / elapsed.count();
  state.counters[unit] = rate / 1e9;
  state.counters["percent"] = 100 * rate / peak;
}

void matmul(benchmark::State& state, const KernelTable& table, double peak) {
  const auto rows = static_cast<int>(state.range(0));
  const std::vector<float> x = random_floats(static_cast<std::size_t>(rows) * kInputs);
  const std::vector<float> w = random_floats(std::size_t{kOutputs} * kInputs);
  std::vector<float> out(static_cast<std::size_t>(rows) * kOutputs);
  measure(state, "GFLOP/s", 2.0 * rows * kInputs * kOutputs, peak, [&] {
    table.floats->matmul(x.data(), kInputs, rows, w.data(), kOutputs, kInputs, out.data(),
                         kOutputs);
  });
}

/// OpenBLAS on the same slab with one thread: fast, and free to order its sums as it likes.
void sgemm(benchmark::State& state, double peak) {
  const auto rows = static_cast<int>(state.range(0));
  const std::vector<float> x = random_floats(static_cast<std::size_t>(rows) * kInputs);
  const std::vector<float> w = random_floats(std::size_t{kOutputs} * kInputs);
  std::vector<float> out(static_cast<std::size_t>(rows) * kOutputs);
  openblas_set_num_threads(1);
  measure(state, "GFLOP/s", 2.0 * rows * kInputs * kOutputs, peak, [&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, kOutputs, kInputs, 1, x.data(),
                kInputs, w.data(), kInputs, 0, out.data(), kOutputs);
  });
}

using Decode = void (*)(const void*, const float*, const float*, int, int, float*);

void decode(benchmark::State& state, Decode kernel, std::size_t row_bytes, double peak) {
  const std::vector<float> scales(kColumns / kGroup, 0.01F);
  const std::vector<float> biases(kColumns / kGroup, -0.5F);
  std::vector<float> out(kColumns);
  const std::uint8_t* bytes = stored_bytes().data();
  measure(state, "GB/s", static_cast<double>(kStoredBytes), peak, [&] {
    for (std::size_t at = 0; at < kStoredBytes; at += row_bytes) {
      kernel(bytes + at, scales.data(), biases.data(), kColumns, kGroup, out.data());
    }
  });
}

using Convert = void (*)(const void*, std::size_t, float*);

void convert(benchmark::State& state, Convert kernel, double peak) {
  std::vector<float> out(kColumns);
  const std::uint8_t* bytes = stored_bytes().data();
  measure(state, "GB/s", static_cast<double>(kStoredBytes), peak, [&] {
    for (std::size_t at = 0; at < kStoredBytes; at += kHalfRowBytes) {
      kernel(bytes + at, kColumns, out.data());
    }
  });
}

void add_table(const KernelTable& table, double flops, double read_peak) {
  const std::string name = table.name;
  const auto add = [&](const std::string& what, const auto& body) {
    return benchmark::RegisterBenchmark((what + "/" + name).c_str(), body);
  };
  add("matmul", [&table, flops](benchmark::State& state) { matmul(state, table, flops); })
      ->ArgName("rows")
      ->Arg(1)
      ->Arg(4)
      ->Arg(64);
  add("decode_affine4", [&table, read_peak](benchmark::State& state) {
    decode(state, table.floats->decode_affine4, kColumns / 2, read_peak);
  });
  add("decode_affine8", [&table, read_peak](benchmark::State& state) {
    decode(state, table.floats->decode_affine8, kColumns, read_peak);
  });
  add("bf16_to_f32", [&table, read_peak](benchmark::State& state) {
    convert(state, table.floats->bf16_to_f32, read_peak);
  });
  add("f16_to_f32", [&table, read_peak](benchmark::State& state) {
    convert(state, table.floats->f16_to_f32, read_peak);
  });
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const double read_peak = quiver::bench::peak_read_bytes();
  double flops = 0;
  for (const KernelTable* table : quiver::available_kernels()) {
    flops = std::max(flops, quiver::bench::peak_flops(table->name));
  }
  fmt::print(
      "One thread of this machine reads {:.1f} GB/s from memory and does {:.1f} GFLOP/s in\n"
      "multiply-adds. 'percent' is of the latter for matmul, of the former for the others.\n\n",
      read_peak / 1e9, flops / 1e9);
  for (const KernelTable* table : quiver::available_kernels()) add_table(*table, flops, read_peak);
  benchmark::RegisterBenchmark("matmul/openblas",
                               [flops](benchmark::State& state) { sgemm(state, flops); })
      ->ArgName("rows")
      ->Arg(1)
      ->Arg(4)
      ->Arg(64);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
