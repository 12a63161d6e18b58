// Benchmarks of the kernels on packed weights and of the quantization of activations.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>

#include "bench/kernel_limits.hpp"
#include "core/tensor/half.hpp"

namespace quiver::bench {
namespace {

constexpr int kInputs = 1536;
constexpr std::size_t kMemoryBytes = std::size_t{128} << 20U;
/// Few enough for a second-level cache of 512 KiB in every format, with their activations.
constexpr std::int64_t kCachedStripes = 8;

struct Shape {
  ActivationFormat format;
  int bits;
  int group;
  int rows;
  bool is_in_memory;
};

/// Random codes with scales and biases as trained weights have them. Stripes repeat, which is no
/// different to a processor that reads them from different places.
AlignedBytes random_weights(PackedWeights& w, std::int64_t stripes) {
  std::mt19937 random(7);
  const auto groups = static_cast<std::size_t>(16 * w.inputs / w.group_size);
  std::vector<std::uint32_t> codes(groups * static_cast<std::size_t>(w.group_size * w.bits / 32));
  for (std::uint32_t& word : codes) word = random();
  std::vector<std::uint16_t> scales(groups);
  std::vector<std::uint16_t> biases(groups);
  for (std::size_t i = 0; i < groups; ++i) {
    const float scale = 0.001F * static_cast<float>(1 + random() % 64);
    scales[i] = f32_to_bf16(scale);
    biases[i] = f32_to_bf16(-scale * static_cast<float>(1 << (w.bits - 1)));
  }
  AlignedBytes data = allocate_aligned(w.stripe_bytes * static_cast<std::size_t>(stripes));
  pack_stripes(w, reinterpret_cast<const std::byte*>(codes.data()),
               reinterpret_cast<const std::byte*>(scales.data()),
               reinterpret_cast<const std::byte*>(biases.data()), 0, 1, data.get());
  for (std::int64_t s = 1; s < stripes; ++s) {
    std::memcpy(data.get() + static_cast<std::size_t>(s) * w.stripe_bytes, data.get(),
                w.stripe_bytes);
  }
  w = packed_layout(kStripeOutputs * stripes, w.inputs, w.bits, w.group_size, w.parameter_type);
  w.data = data.get();
  return data;
}

void matmul(benchmark::State& state, const PackedKernels& kernels, const Shape& shape,
            double read_limit, double arithmetic_limit) {
  PackedWeights w = packed_layout(kStripeOutputs, kInputs, shape.bits, shape.group, DType::bf16);
  const auto many = static_cast<std::int64_t>(kMemoryBytes / w.stripe_bytes) + 1;
  const AlignedBytes data = random_weights(w, shape.is_in_memory ? many : kCachedStripes);
  const auto rows = static_cast<std::size_t>(shape.rows);
  const std::vector<float> x = random_floats(rows * kInputs);
  const AlignedBytes activations =
      allocate_aligned(rows * activation_row_bytes(shape.format, kInputs, shape.group));
  kernels.quantize(x.data(), kInputs, shape.rows, kInputs, shape.group, shape.format,
                   activations.get());
  const auto outputs = static_cast<std::size_t>(w.outputs);
  std::vector<float> out(rows * outputs);
  const Work work{.bytes = static_cast<double>(w.stripe_bytes) * static_cast<double>(w.stripes),
                  .operations = 2.0 * kInputs * static_cast<double>(rows * outputs),
                  .read_limit = shape.is_in_memory ? read_limit : 0,
                  .arithmetic_limit = arithmetic_limit};
  measure(state, work, [&] {
    kernels.matmul(w, 0, w.stripes, activations.get(), shape.rows, shape.format, out.data(),
                   outputs);
  });
}

const char* name_of(ActivationFormat format) {
  return format == ActivationFormat::int8 ? "int8" : "int16";
}

void add_shape(const KernelTable& table, const MachineLimits& limits, const Shape& shape) {
  const std::string name = fmt::format(
      "packed/{}/{}/bits:{}/group:{}/rows:{}/{}", shape.is_in_memory ? "memory" : "cache",
      name_of(shape.format), shape.bits, shape.group, shape.rows, table.name);
  const char* kind = shape.format == ActivationFormat::int8 ? "int4 dot" : "int16 dot";
  const double arithmetic = limits.arithmetic(kind, table.name);
  benchmark::RegisterBenchmark(
      name.c_str(), [=, &kernels = *table.packed, read = limits.read()](benchmark::State& state) {
        matmul(state, kernels, shape, read, arithmetic);
      });
}

void add_quantization(const KernelTable& table, ActivationFormat format, int rows) {
  constexpr int kGroup = 64;
  benchmark::RegisterBenchmark(
      fmt::format("quantize/{}/rows:{}/{}", name_of(format), rows, table.name).c_str(),
      [=, &kernels = *table.packed](benchmark::State& state) {
        const auto count = static_cast<std::size_t>(rows) * kInputs;
        const std::vector<float> x = random_floats(count);
        const AlignedBytes out = allocate_aligned(static_cast<std::size_t>(rows) *
                                                  activation_row_bytes(format, kInputs, kGroup));
        const Work work{.bytes = 4.0 * static_cast<double>(count),
                        .elements = static_cast<double>(count)};
        measure(state, work, [&] {
          kernels.quantize(x.data(), kInputs, rows, kInputs, kGroup, format, out.get());
        });
      });
}

}  // namespace

void add_packed_kernels(const KernelTable& table, const MachineLimits& limits) {
  for (const ActivationFormat format : {ActivationFormat::int8, ActivationFormat::int16}) {
    for (const int rows : {1, 8, 96}) add_quantization(table, format, rows);
    for (const bool is_in_memory : {false, true}) {
      for (const int bits : {2, 3, 4, 5, 6, 8}) {
        if (format == ActivationFormat::int8 && bits > 4) continue;
        for (const int group : {32, 64, 128}) {
          // Other groups where they matter most.
          if (group != 64 && (is_in_memory || (bits != 4 && bits != 8))) continue;
          for (const int rows : {1, 2, 4, 8, 96}) {
            add_shape(table, limits, {format, bits, group, rows, is_in_memory});
          }
        }
      }
    }
  }
}

}  // namespace quiver::bench
