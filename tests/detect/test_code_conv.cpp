// Codes of maps and their products, with every table of kernels that runs here.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/kernels/kernel_table.hpp"
#include "tests/detect/detect_models.hpp"

#ifdef QUIVER_TEST_VNNI_AS_AVX512
namespace quiver {
const CodeConvKernels& avx2vnni_as_avx512_code_conv_kernels();
}
#endif

namespace quiver::test {
namespace {

struct Named {
  std::string name;
  const CodeConvKernels* kernels;
};

std::vector<Named> all_kernels() {
  std::vector<Named> result;
  for (const KernelTable* table : available_kernels()) {
    result.push_back({table->name, table->code_convs});
  }
#ifdef QUIVER_TEST_VNNI_AS_AVX512
  if (result.front().name == "avx512vnni") {
    result.push_back({"avx2vnni_as_avx512", &avx2vnni_as_avx512_code_conv_kernels()});
  }
#endif
  return result;
}

constexpr ActivationFormat kFormats[] = {ActivationFormat::int8, ActivationFormat::int16};

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.4F, 1.0F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// Codes of a row of pixels of one or two parts.
struct Codes {
  int bytes = 0;
  std::vector<std::byte> data;
  std::vector<float> factors;
  std::vector<float> zeros;

  int at(std::size_t index) const {
    std::int16_t wide = 0;
    if (bytes == 1) return static_cast<std::int8_t>(data[index]);
    std::memcpy(&wide, data.data() + 2 * index, sizeof(wide));
    return wide;
  }
};

Codes encode(const CodeConvKernels& kernels, const std::vector<float>& x, int channels, int second,
             int pixels, int block, ActivationFormat format) {
  Codes codes;
  codes.bytes = kernels.code_bytes[static_cast<int>(format)];
  const auto width = static_cast<std::size_t>(channels + second);
  codes.data.resize(static_cast<std::size_t>(pixels) * width * std::size_t(codes.bytes));
  codes.factors.resize(static_cast<std::size_t>((pixels + block - 1) / block));
  codes.zeros = codes.factors;
  const MapValues values[2] = {{x.data(), width, channels}, {x.data() + channels, width, second}};
  EncodeRow row;
  row.values = values;
  row.value_count = second > 0 ? 2 : 1;
  row.pixels = pixels;
  row.block = block;
  row.format = format;
  row.out = codes.data.data();
  row.out_stride = width * std::size_t(codes.bytes);
  row.factors = codes.factors.data();
  row.zeros = codes.zeros.data();
  kernels.encode(row);
  return codes;
}

TEST(Codes, stand_for_their_values_and_are_the_same_in_every_table) {
  constexpr int kPixels = 11;
  for (const ActivationFormat format : kFormats) {
    const int half = format == ActivationFormat::int8 ? 128 : 32768;
    for (const auto& [first, second] : {std::pair{8, 0}, {16, 0}, {3, 6}, {48, 20}, {64, 64}}) {
      const int width = first + second;
      auto x = numbers(std::size_t(kPixels * width), unsigned(width));
      // One pixel of zeros, one without anything positive, and one of tiny values.
      for (int c = 0; c < width; ++c) {
        x[std::size_t(c)] = 0;
        x[std::size_t(width + c)] = -std::abs(x[std::size_t(width + c)]);
        x[std::size_t(2 * width + c)] *= 1e-36F;
      }
      for (const int block : {1, 4, kPixels}) {
        const Codes want = encode(*available_kernels().back()->code_convs, x, first, second,
                                  kPixels, block, format);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const std::size_t group = i / std::size_t(width * block);
          const double factor = want.factors[group];
          const double value = factor * (want.at(i) - double{want.zeros[group]});
          EXPECT_GE(want.at(i), -half);
          EXPECT_LT(want.at(i), half);
          EXPECT_NEAR(value, x[i], 0.51 * factor + 1e-30);
          if (x[i] == 0) {
            EXPECT_EQ(value, 0);
          }
        }
        for (const auto& [name, kernels] : all_kernels()) {
          const Codes got = encode(*kernels, x, first, second, kPixels, block, format);
          EXPECT_EQ(got.factors, want.factors) << name;
          EXPECT_EQ(got.zeros, want.zeros) << name;
          for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(got.at(i), want.at(i)) << name;
        }
      }
    }
  }
}

TEST(Codes, of_what_is_no_number_have_no_factor) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const auto& [name, kernels] : all_kernels()) {
    for (const ActivationFormat format : kFormats) {
      for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
        auto x = numbers(4 * 20, 1);
        x[33] = bad;
        const Codes codes = encode(*kernels, x, 20, 0, 4, 1, format);
        EXPECT_TRUE(std::isnan(codes.factors[1])) << name;
        EXPECT_TRUE(std::isfinite(codes.zeros[1])) << name;
        EXPECT_TRUE(std::isfinite(codes.factors[0])) << name;
        EXPECT_TRUE(std::isfinite(codes.factors[2])) << name;
      }
    }
  }
}

TEST(Codes, are_added_up_over_any_number_of_channels) {
  const auto x = numbers(5 * 100, 3);
  for (const auto& [name, kernels] : all_kernels()) {
    for (const ActivationFormat format : kFormats) {
      const Codes codes = encode(*kernels, x, 100, 0, 5, 5, format);
      for (const int count : {1, 3, 4, 8, 16, 20, 31, 32, 64, 99}) {
        std::int32_t sums[5] = {};
        kernels->sum(codes.data.data() + codes.bytes, std::size_t(100 * codes.bytes), 5, count,
                     format, sums);
        for (int p = 0; p < 5; ++p) {
          int want = 0;
          for (int i = 0; i < count; ++i) want += codes.at(std::size_t(100 * p + 1 + i));
          EXPECT_EQ(sums[p], want) << name << " " << count;
        }
      }
    }
  }
}

/// Products of random codes and weights: two rows of codes, three runs, two groups.
struct Products {
  static constexpr int kUnits[] = {3, 16, 1};
  static constexpr int kWidth = 80;  // codes of a pixel
  static constexpr int kTerms = 3;
  int outputs;
  int pixels;
  std::vector<int> codes;
  std::vector<int> weights;
  std::vector<float> parameters;
  std::vector<float> terms;
  std::vector<float> factors;
  std::vector<float> scale;
  std::vector<float> residual;

  Products(int output_count, int pixel_count, ActivationFormat format)
      : outputs(output_count),
        pixels(pixel_count),
        parameters(numbers(std::size_t(panels() * (2 + kTerms) * 16), 4)),
        terms(numbers(std::size_t(kTerms * pixels), 5)),
        factors(numbers(std::size_t(pixels), 6)),
        scale(numbers(std::size_t(panels() * 16), 7)),
        residual(numbers(std::size_t(pixels * outputs), 8)) {
    std::mt19937 random(9);
    const int half = format == ActivationFormat::int8 ? 128 : 32768;
    codes.resize(std::size_t(2 * pixels * kWidth));
    for (int& code : codes) code = static_cast<int>(random() % unsigned(2 * half)) - half;
    weights.resize(std::size_t(panels() * 20 * 64));
    for (int& weight : weights) weight = static_cast<int>(random() % 256U);
  }
  int panels() const { return (outputs + 15) / 16; }

  double wanted(int pixel, int output) const {
    static constexpr float kRows[] = {0.001F, 0.002F};
    const int lane = output % 16;
    const float* values = parameters.data() + output / 16 * (2 + kTerms) * 16 + lane;
    const int* panel = weights.data() + output / 16 * 20 * 64;
    double total = 0;
    int unit = 0;
    for (int run = 0; run < 3; ++run) {
      const int row = run % 2;
      const int* x = codes.data() + (row * pixels + pixel) * kWidth;
      std::int64_t sum = 0;
      for (int u = 0; u < kUnits[run]; ++u, ++unit) {
        for (int i = 0; i < 4; ++i) sum += x[4 * u + i] * panel[unit * 64 + lane * 4 + i];
      }
      total += double(sum) * kRows[row] * values[run / 2 * 16];
    }
    for (int t = 0; t < kTerms; ++t) {
      total += double{values[(2 + t) * 16]} * terms[std::size_t(t * pixels + pixel)];
    }
    total = total * factors[std::size_t(pixel)] * scale[std::size_t(output)] + 1;
    return total + residual[std::size_t(pixel * outputs + output)];
  }

  std::vector<float> run(const CodeConvKernels& kernels, ActivationFormat format) const {
    static constexpr float kRows[] = {0.001F, 0.002F};
    const int bytes = kernels.code_bytes[static_cast<int>(format)];
    std::vector<std::byte> x(codes.size() * std::size_t(bytes));
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const auto code = static_cast<std::int16_t>(codes[i]);
      std::memcpy(x.data() + i * std::size_t(bytes), &code, std::size_t(bytes));
    }
    std::vector<std::byte> w(weights.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      constexpr std::size_t kWide[] = {0, 2, 1, 3};
      const std::size_t place = bytes == 1 ? i % 4 : kWide[i % 4];
      w[i / 4 * 4 + place] = static_cast<std::byte>(weights[i]);
    }
    CodeRun runs[3];
    for (int i = 0; i < 3; ++i) {
      runs[i] = {x.data() + i % 2 * pixels * kWidth * bytes, kUnits[i], i % 2, i / 2};
    }
    const std::vector<float> ones(scale.size(), 1.0F);
    std::vector<float> out(residual.size() + 1, 77.0F);
    CodeConvRow row;
    row.runs = runs;
    row.run_count = 3;
    row.stride = std::size_t(kWidth * bytes);
    row.row_factors = kRows;
    row.pixel_factors = factors.data();
    row.terms = terms.data();
    row.term_count = kTerms;
    row.weights = w.data();
    row.panel_bytes = 20 * 64;
    row.parameters = parameters.data();
    row.groups = 2;
    row.format = format;
    row.end.outputs = outputs;
    row.end.scale = scale.data();
    row.end.bias = ones.data();
    row.end.residual = residual.data();
    row.end.residual_stride = std::size_t(outputs);
    row.end.out = out.data();
    row.end.out_stride = std::size_t(outputs);
    row.end.pixels = pixels;
    kernels.convolve(row);
    EXPECT_EQ(out.back(), 77.0F);
    out.pop_back();
    return out;
  }
};

TEST(Codes, have_the_products_of_plain_loops_for_any_number_of_pixels_and_outputs) {
  for (const ActivationFormat format : kFormats) {
    // Sums reach some thousands with codes of 8 bits, and 256 times that with 16.
    const double tolerance = format == ActivationFormat::int8 ? 5e-3 : 1.3;
    for (const int outputs : {1, 15, 16, 17, 40, 48}) {
      for (int pixels = 1; pixels <= 30; pixels += pixels < 16 ? 1 : 7) {
        const Products products(outputs, pixels, format);
        for (const auto& [name, kernels] : all_kernels()) {
          const auto got = products.run(*kernels, format);
          for (int p = 0; p < pixels; ++p) {
            for (int o = 0; o < outputs; ++o) {
              ASSERT_NEAR(got[std::size_t(p * outputs + o)], products.wanted(p, o), tolerance)
                  << name << ", " << pixels << " pixels, " << outputs << " outputs";
            }
          }
        }
      }
    }
  }
}

TEST(Codes, have_the_same_products_in_any_company) {
  for (const auto& [name, kernels] : all_kernels()) {
    for (const ActivationFormat format : kFormats) {
      const Products products(40, 29, format);
      const auto together = products.run(*kernels, format);
      for (const int pixel : {0, 6, 7, 28}) {
        Products alone = products;
        alone.pixels = 1;
        for (int row = 0; row < 2; ++row) {
          std::copy_n(products.codes.begin() + (row * 29 + pixel) * Products::kWidth,
                      Products::kWidth, alone.codes.begin() + row * Products::kWidth);
        }
        for (int t = 0; t < Products::kTerms; ++t) {
          alone.terms[std::size_t(t)] = products.terms[std::size_t(t * 29 + pixel)];
        }
        alone.factors[0] = products.factors[std::size_t(pixel)];
        alone.residual.assign(products.residual.begin() + pixel * 40,
                              products.residual.begin() + (pixel + 1) * 40);
        const auto got = alone.run(*kernels, format);
        EXPECT_TRUE(std::equal(got.begin(), got.end(), together.begin() + pixel * 40)) << name;
      }
    }
  }
}

}  // namespace
}  // namespace quiver::test
