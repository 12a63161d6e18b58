// Operations on feature maps against plain loops, with every table of kernels that runs here.
#include <random>

#include "core/kernels/kernel_table.hpp"
#include "tests/detect/detect_models.hpp"
#include "tests/support/checkpoint_folder.hpp"

namespace quiver::test {
namespace {

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
  return values;
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}

/// One row of pixels through a table's kernel, and by plain loops.
void check_row(const ImageKernels& kernels, int inputs, int outputs, int pixels, bool is_silu,
               bool has_residual) {
  const int panels = (outputs + 15) / 16;
  const auto x = numbers(static_cast<std::size_t>(pixels * inputs), 1);
  auto weights = numbers(static_cast<std::size_t>(panels * 16 * inputs), 2);
  const auto scale = numbers(static_cast<std::size_t>(panels * 16), 3);
  const auto bias = numbers(static_cast<std::size_t>(panels * 16), 4);
  const auto residual = numbers(static_cast<std::size_t>(pixels * outputs), 5);
  std::vector<float> out(static_cast<std::size_t>(pixels * outputs) + 1, 77.0F);
  const int half = inputs / 2;
  const ConvRun runs[2] = {{x.data(), std::size_t(inputs), half},
                           {x.data() + half, std::size_t(inputs), inputs - half}};
  ConvRow row;
  row.runs = runs;
  row.run_count = 2;
  row.weights = weights.data();
  row.panel_stride = static_cast<std::size_t>(inputs) * 16;
  row.panels = panels;
  row.outputs = outputs;
  row.scale = scale.data();
  row.bias = bias.data();
  row.residual = has_residual ? residual.data() : nullptr;
  row.residual_stride = static_cast<std::size_t>(outputs);
  row.out = out.data();
  row.out_stride = static_cast<std::size_t>(outputs);
  row.pixels = pixels;
  row.is_silu = is_silu;
  kernels.convolve(row);
  EXPECT_EQ(out.back(), 77.0F);
  for (int p = 0; p < pixels; ++p) {
    for (int o = 0; o < outputs; ++o) {
      double sum = 0;
      for (int i = 0; i < inputs; ++i) {
        sum += double{x[std::size_t(p * inputs + i)]} *
               weights[std::size_t((o / 16 * inputs + i) * 16 + o % 16)];
      }
      sum = sum * scale[std::size_t(o)] + bias[std::size_t(o)];
      if (is_silu) sum = silu(sum);
      if (has_residual) sum += residual[std::size_t(p * outputs + o)];
      ASSERT_NEAR(out[std::size_t(p * outputs + o)], sum, 1e-5 * inputs)
          << inputs << " inputs, " << outputs << " outputs, " << pixels << " pixels";
    }
  }
}

TEST(ImageKernels, convolve_like_plain_loops_for_any_number_of_pixels_and_outputs) {
  for (const KernelTable* table : available_kernels()) {
    SCOPED_TRACE(table->name);
    for (const int outputs : {1, 8, 16, 17, 32, 40, 48}) {
      for (int pixels = 1; pixels <= 30; pixels += pixels < 9 ? 1 : 5) {
        check_row(*table->images, 27, outputs, pixels, pixels % 2 == 0, pixels % 3 == 0);
      }
    }
  }
}

TEST(ImageKernels, bound_silu_at_both_ends) {
  const std::vector<float> extremes{-1e30F, -200.0F, -88.0F, 0.0F, 88.0F, 200.0F, 1e30F, 3.0F};
  for (const KernelTable* table : available_kernels()) {
    std::vector<float> values(extremes.size());
    const std::vector<float> ones(16, 1.0F);
    const std::vector<float> zeros(16, 0.0F);
    // A pixel with one input is each of them, and so is its one output.
    const ConvRun run{extremes.data(), 1, 1};
    ConvRow row;
    row.runs = &run;
    row.run_count = 1;
    row.weights = ones.data();
    row.panel_stride = 16;
    row.panels = 1;
    row.out = values.data();
    row.out_stride = 1;
    row.outputs = 1;
    row.pixels = static_cast<int>(extremes.size());
    row.scale = ones.data();
    row.bias = zeros.data();
    row.is_silu = true;
    table->images->convolve(row);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double want = extremes[i] < -100 ? 0 : silu(extremes[i]);
      EXPECT_NEAR(values[i], want, 1e-6 * std::abs(want) + 1e-6) << table->name << " " << i;
    }
  }
}

TEST(ImageKernels, sum_depthwise_neighbourhoods_like_plain_loops) {
  constexpr int kChannels = 21;
  constexpr int kPixels = 5;
  const auto x = numbers(3 * (2 * kPixels + 2) * kChannels, 6);
  const auto weights = numbers(9 * kChannels, 7);
  const auto scale = numbers(kChannels, 8);
  const auto bias = numbers(kChannels, 9);
  for (const KernelTable* table : available_kernels()) {
    for (const int step : {1, 2}) {
      std::vector<float> out(kPixels * kChannels);
      DepthwiseRow row;
      for (int dy = 0; dy < 3; ++dy) row.rows[dy] = x.data() + dy * (2 * kPixels + 2) * kChannels;
      row.stride = kChannels;
      row.step = step;
      row.weights = weights.data();
      row.scale = scale.data();
      row.bias = bias.data();
      row.out = out.data();
      row.out_stride = kChannels;
      row.pixels = kPixels;
      row.channels = kChannels;
      table->images->depthwise(row);
      for (int p = 0; p < kPixels; ++p) {
        for (int c = 0; c < kChannels; ++c) {
          double sum = 0;
          for (int tap = 0; tap < 9; ++tap) {
            sum += double{row.rows[tap / 3][(p * step + tap % 3) * kChannels + c]} *
                   weights[std::size_t(tap * kChannels + c)];
          }
          EXPECT_NEAR(out[std::size_t(p * kChannels + c)],
                      sum * scale[std::size_t(c)] + bias[std::size_t(c)], 1e-5)
              << table->name;
        }
      }
    }
  }
}

TEST(BestDetections, prefer_lower_cells_and_classes_where_scores_tie) {
  RawDetections raw;
  raw.grids = {{1, 3, 8}};
  raw.classes = 2;
  raw.distances.assign(12, 1.0F);
  raw.logits = {1, 2, 2, 2, -1, std::nanf("")};
  const auto found = best_detections(raw, 300);
  ASSERT_EQ(found.size(), 3U);  // never more rows than cells
  EXPECT_EQ(found[0].cell, 0);
  EXPECT_EQ(found[0].class_id, 1);
  EXPECT_EQ(found[1].cell, 1);
  EXPECT_EQ(found[1].class_id, 0);
  EXPECT_EQ(found[2].cell, 1);
  EXPECT_EQ(found[2].class_id, 1);
  EXPECT_FLOAT_EQ(found[0].box.x1, -4);
  EXPECT_FLOAT_EQ(found[0].box.x2, 12);
}

}  // namespace
}  // namespace quiver::test
