// Benchmarks of the kernels in float32, and of OpenBLAS on the same product.
#include <benchmark/benchmark.h>
#include <cblas.h>
#include <fmt/format.h>

#include "bench/kernel_limits.hpp"

namespace quiver::bench {
namespace {

// One slab of weights as a forward pass cuts it: 32 outputs of 1024 inputs are 128 KiB.
constexpr int kInputs = 1024;
constexpr int kOutputs = 32;

// Stored weights that lie in memory, not in a cache: 128 MiB, whole rows in every format.
constexpr std::size_t kStoredBytes = std::size_t{128} << 20U;
constexpr int kColumns = 4096;
constexpr int kGroup = 64;
constexpr std::size_t kHalfRowBytes = std::size_t{2} * kColumns;

/// Bytes that are codes, and finite numbers where they are read as 16-bit floats.
const std::vector<std::uint8_t>& stored_bytes() {
  static const std::vector<std::uint8_t> kBytes(kStoredBytes, 0x3b);
  return kBytes;
}

/// A product of `rows` rows by `multiply(x, w, out)`.
template <class Multiply>
void matmul(benchmark::State& state, int rows, double limit, const Multiply& multiply) {
  const std::vector<float> x = random_floats(static_cast<std::size_t>(rows) * kInputs);
  const std::vector<float> w = random_floats(std::size_t{kOutputs} * kInputs);
  std::vector<float> out(static_cast<std::size_t>(rows) * kOutputs);
  const Work work{.bytes = 4.0 * kInputs * kOutputs,
                  .operations = 2.0 * rows * kInputs * kOutputs,
                  .arithmetic_limit = limit};
  measure(state, work, [&] { multiply(x.data(), w.data(), out.data()); });
}

/// OpenBLAS with one thread: fast, and free to order its sums as it likes.
void add_peer(int rows, double limit) {
  benchmark::RegisterBenchmark(
      fmt::format("matmul/rows:{}/openblas", rows).c_str(), [=](benchmark::State& state) {
        openblas_set_num_threads(1);
        matmul(state, rows, limit, [=](const float* x, const float* w, float* out) {
          cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, kOutputs, kInputs, 1, x,
                      kInputs, w, kInputs, 0, out, kOutputs);
        });
      });
}

/// All stored bytes row by row: `convert(row, out)`.
template <class Convert>
void add_conversion(const std::string& name, std::size_t row_bytes, double read_limit,
                    const Convert& convert) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    std::vector<float> out(kColumns);
    const std::uint8_t* bytes = stored_bytes().data();
    const Work work{.bytes = static_cast<double>(kStoredBytes), .read_limit = read_limit};
    measure(state, work, [&] {
      for (std::size_t at = 0; at < kStoredBytes; at += row_bytes) convert(bytes + at, out.data());
    });
  });
}

}  // namespace

void add_float_kernels(const KernelTable& table, const MachineLimits& limits) {
  const FloatKernels& floats = *table.floats;
  for (const int rows : {1, 4, 64}) {
    const double limit = limits.arithmetic("fma", table.name);
    benchmark::RegisterBenchmark(
        fmt::format("matmul/rows:{}/{}", rows, table.name).c_str(),
        [=, &floats](benchmark::State& state) {
          matmul(state, rows, limit, [&](const float* x, const float* w, float* out) {
            floats.matmul(x, kInputs, rows, w, kOutputs, kInputs, out, kOutputs);
          });
        });
    if (&table == available_kernels().front()) add_peer(rows, limit);
  }
  static const std::vector<float> kScales(kColumns / kGroup, 0.01F);
  static const std::vector<float> kBiases(kColumns / kGroup, -0.5F);
  const auto add = [&](const char* what, std::size_t row_bytes, const auto& convert) {
    add_conversion(fmt::format("{}/memory/{}", what, table.name), row_bytes, limits.read(),
                   convert);
  };
  add("decode_affine4", kColumns / 2, [&floats](const void* in, float* out) {
    floats.decode_affine4(in, kScales.data(), kBiases.data(), kColumns, kGroup, out);
  });
  add("decode_affine8", kColumns, [&floats](const void* in, float* out) {
    floats.decode_affine8(in, kScales.data(), kBiases.data(), kColumns, kGroup, out);
  });
  add("bf16_to_f32", kHalfRowBytes,
      [&floats](const void* in, float* out) { floats.bf16_to_f32(in, kColumns, out); });
  add("f16_to_f32", kHalfRowBytes,
      [&floats](const void* in, float* out) { floats.f16_to_f32(in, kColumns, out); });
}

}  // namespace quiver::bench
