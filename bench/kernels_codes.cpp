// Benchmarks of convolutions on codes and of making codes of maps.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "bench/kernel_limits.hpp"

namespace quiver::bench {
namespace {

constexpr int kPixels = 40;
constexpr int kGroup = 64;

struct Shape {
  const char* name;
  int kernel;
  int inputs;
  int outputs;
};

constexpr Shape kShapes[] = {{"3x3_16to32", 3, 16, 32},
                             {"3x3_64to64", 3, 64, 64},
                             {"3x3_128to128", 3, 128, 128},
                             {"1x1_64to64", 1, 64, 64},
                             {"1x1_384to256", 1, 384, 256}};

/// A row of a result, in caches: its runs are a row of the kernel cut where groups end.
void convolve(benchmark::State& state, const CodeConvKernels& kernels, const Shape& shape,
              ActivationFormat format, double limit) {
  const int bytes = kernels.code_bytes[static_cast<int>(format)];
  const int columns = shape.kernel * shape.inputs;
  const int all = shape.kernel * columns;
  const int groups = (all + kGroup - 1) / kGroup;
  const int terms = groups + shape.kernel;
  const int panels = (shape.outputs + kPanelOutputs - 1) / kPanelOutputs;
  const auto line = static_cast<std::size_t>((kPixels + 2) * shape.inputs * bytes);
  std::vector<std::byte> codes(line * static_cast<std::size_t>(shape.kernel));
  std::vector<std::byte> weights(static_cast<std::size_t>(panels * all * kPanelOutputs));
  std::mt19937 random(3);
  for (std::byte& code : codes) code = static_cast<std::byte>(random());
  for (std::byte& code : weights) code = static_cast<std::byte>(random());
  std::vector<CodeRun> runs;
  for (int row = 0; row < shape.kernel; ++row) {
    for (int at = 0, end = 0; at < columns; at = end) {
      const int group = (row * columns + at) / kGroup;
      end = std::min(columns, (group + 1) * kGroup - row * columns);
      runs.push_back({codes.data() + static_cast<std::size_t>(row) * line + at * bytes,
                      (end - at) / kUnitCodes, row, group});
    }
  }
  const auto parameters = random_floats(static_cast<std::size_t>(panels * (groups + terms) * 16));
  const auto factors = random_floats(static_cast<std::size_t>(terms * kPixels));
  std::vector<float> out(static_cast<std::size_t>(kPixels * shape.outputs));
  CodeConvRow row;
  row.runs = runs.data();
  row.run_count = static_cast<int>(runs.size());
  row.stride = static_cast<std::size_t>(shape.inputs * bytes);
  row.row_factors = factors.data();
  row.terms = factors.data();
  row.term_count = terms;
  row.weights = weights.data();
  row.panel_bytes = static_cast<std::size_t>(all * kPanelOutputs);
  row.parameters = parameters.data();
  row.groups = groups;
  row.format = format;
  row.end.outputs = shape.outputs;
  row.end.scale = parameters.data();
  row.end.bias = parameters.data();
  row.end.out = out.data();
  row.end.out_stride = static_cast<std::size_t>(shape.outputs);
  row.end.pixels = kPixels;
  row.end.is_silu = true;
  const Work work{.operations = 2.0 * kPixels * all * shape.outputs, .arithmetic_limit = limit};
  measure(state, work, [&] { kernels.convolve(row); });
}

/// A row of pixels in caches, whose values share a factor.
void encode(benchmark::State& state, const CodeConvKernels& kernels, ActivationFormat format) {
  constexpr int kChannels = 64;
  const auto x = random_floats(kPixels * kChannels);
  std::vector<std::byte> out(2 * x.size());
  const MapValues values{x.data(), kChannels, kChannels};
  float factor = 0;
  float zero = 0;
  EncodeRow row;
  row.values = &values;
  row.value_count = 1;
  row.pixels = kPixels;
  row.block = kPixels;
  row.format = format;
  row.out = out.data();
  row.out_stride =
      static_cast<std::size_t>(kChannels * kernels.code_bytes[static_cast<int>(format)]);
  row.factors = &factor;
  row.zeros = &zero;
  measure(state, {.elements = kPixels * kChannels}, [&] { kernels.encode(row); });
}

}  // namespace

void add_code_conv_kernels(const KernelTable& table, const MachineLimits& limits) {
  for (const ActivationFormat format : {ActivationFormat::int8, ActivationFormat::int16}) {
    const char* name = format == ActivationFormat::int8 ? "int8" : "int16";
    const bool is_narrow = table.code_convs->code_bytes[static_cast<int>(format)] == 1;
    const double limit = limits.arithmetic(is_narrow ? "int8 dot" : "int16 dot", table.name);
    for (const Shape& shape : kShapes) {
      benchmark::RegisterBenchmark(
          fmt::format("conv/{}/{}/{}", name, shape.name, table.name).c_str(),
          [&table, &shape, format, limit](benchmark::State& state) {
            convolve(state, *table.code_convs, shape, format, limit);
          });
    }
    benchmark::RegisterBenchmark(
        fmt::format("encode/{}/{}", name, table.name).c_str(),
        [&table, format](benchmark::State& state) { encode(state, *table.code_convs, format); });
  }
}

}  // namespace quiver::bench
