// Packed kernels of every table that this machine can run, against double arithmetic and against
// the generic ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/kernels/kernel_table.hpp"
#include "core/tensor/half.hpp"

#ifdef QUIVER_TEST_VNNI_AS_AVX512
namespace quiver {
const PackedKernels& avx2vnni_as_avx512_packed_kernels(bool reads_ahead);
}
#endif

namespace quiver {
namespace {

/// A matrix as it lies in a file, its packed form, and its values.
struct Matrix {
  std::vector<std::byte> codes;
  std::vector<std::byte> scales;
  std::vector<std::byte> biases;
  std::vector<std::byte> packed;
  std::vector<double> values;
  PackedWeights weights;
};

void put_parameter(std::vector<std::byte>& out, DType type, float value, double& stored) {
  std::uint16_t half = 0;
  switch (type) {
    case DType::f16:
      half = f32_to_f16(value);
      stored = f16_to_f32(half);
      break;
    case DType::bf16:
      half = f32_to_bf16(value);
      stored = bf16_to_f32(half);
      break;
    default: stored = value;
  }
  const std::size_t at = out.size();
  out.resize(at + size_bytes(type));
  std::memcpy(out.data() + at, type == DType::f32 ? static_cast<const void*>(&value) : &half,
              size_bytes(type));
}

Matrix random_matrix(int outputs, int inputs, int bits, int group, DType type, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0.5F, 1.5F);
  Matrix m;
  const auto count = static_cast<std::size_t>(outputs) * static_cast<std::size_t>(inputs);
  m.codes.resize(count * static_cast<std::size_t>(bits) / 8);
  m.values.resize(count);
  double scale = 0;
  double bias = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % static_cast<std::size_t>(group) == 0) {
      const float step = 0.1F * uniform(random) / static_cast<float>(1 << bits);
      put_parameter(m.scales, type, step, scale);
      put_parameter(m.biases, type, -step * static_cast<float>(1 << bits) * 0.5F, bias);
    }
    const unsigned code = random() & ((1U << bits) - 1U);
    for (int bit = 0; bit < bits; ++bit) {
      const std::size_t at = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(bit);
      m.codes[at / 8] |= static_cast<std::byte>((code >> bit & 1U) << (at % 8));
    }
    m.values[i] = scale * code + bias;
  }
  m.weights = packed_layout(outputs, inputs, bits, group, type);
  m.packed.resize(static_cast<std::size_t>(m.weights.stripes) * m.weights.stripe_bytes + 64);
  auto* start = m.packed.data() + (64 - reinterpret_cast<std::uintptr_t>(m.packed.data()) % 64);
  pack_stripes(m.weights, m.codes.data(), m.scales.data(), m.biases.data(), 0, m.weights.stripes,
               start);
  m.weights.data = start;
  return m;
}

std::vector<float> random_rows(int rows, int inputs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(rows) * static_cast<std::size_t>(inputs));
  for (float& value : x) value = normal(random);
  return x;
}

std::vector<float> multiply(const PackedKernels& kernels, const PackedWeights& w,
                            const std::vector<float>& x, int rows, ActivationFormat format,
                            std::int64_t first = 0, std::int64_t stripes = -1) {
  const std::size_t bytes = activation_row_bytes(format, w.inputs, w.group_size);
  std::vector<float> memory((bytes * static_cast<std::size_t>(rows) + 64) / sizeof(float));
  auto* activations = reinterpret_cast<std::byte*>(memory.data());
  const auto inputs = static_cast<int>(w.inputs);
  kernels.quantize(x.data(), static_cast<std::size_t>(inputs), rows, inputs, w.group_size, format,
                   activations);
  if (stripes < 0) stripes = w.stripes;
  const auto outputs = static_cast<std::size_t>(
      std::min<std::int64_t>(stripes * kStripeOutputs, w.outputs - first * kStripeOutputs));
  const std::size_t stride = outputs + 3;
  std::vector<float> out(stride * static_cast<std::size_t>(rows), -77.0F);
  kernels.matmul(w, first, stripes, activations, rows, format, out.data(), stride);
  std::vector<float> result;
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
    for (std::size_t o = 0; o < outputs; ++o) result.push_back(out[r * stride + o]);
    EXPECT_EQ(out[r * stride + outputs], -77.0F) << "wrote behind a row";
  }
  return result;
}

struct Named {
  std::string name;
  const PackedKernels* kernels;
};

std::vector<Named> all_kernels() {
  std::vector<Named> result;
  [[maybe_unused]] const auto add = [&](const std::string& name, const auto& kernels) {
    result.push_back({name, &kernels(false)});
    result.push_back({name + "_reading_ahead", &kernels(true)});
  };
  for (const KernelTable* table : available_kernels()) {
    const std::string name = table->name;
#if defined(__x86_64__)
    if (name == "avx512vnni") {
      add(name, avx512vnni_packed_kernels);
    } else if (name == "avx512") {
      add(name, avx512_packed_kernels);
    } else if (name == "avx2vnni") {
      add(name, avx2vnni_packed_kernels);
    } else
#endif
    {
      result.push_back({name, table->packed});
    }
  }
#ifdef QUIVER_TEST_VNNI_AS_AVX512
  const KernelTable* const widest = available_kernels().front();
  if (std::string(widest->name) == "avx512vnni") {
    add("avx2vnni_as_avx512", avx2vnni_as_avx512_packed_kernels);
  }
#endif
  return result;
}

class PackedKernelsTest : public testing::TestWithParam<Named> {
 protected:
  const PackedKernels& kernels = *GetParam().kernels;
};

constexpr ActivationFormat kFormats[] = {ActivationFormat::int8, ActivationFormat::int16};

TEST_P(PackedKernelsTest, products_are_near_those_of_the_decoded_weights) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const ActivationFormat format : kFormats) {
      if (format == ActivationFormat::int8 && bits > 4) continue;
      const Matrix m = random_matrix(40, 256, bits, 64, DType::f32, 1);
      const auto x = random_rows(3, 256, 2);
      const auto got = multiply(kernels, m.weights, x, 3, format);
      double error = 0;
      double size = 0;
      for (std::size_t r = 0; r < 3; ++r) {
        for (std::size_t o = 0; o < 40; ++o) {
          double want = 0;
          for (std::size_t i = 0; i < 256; ++i) {
            want += m.values[o * 256 + i] * static_cast<double>(x[r * 256 + i]);
          }
          error += std::pow(got[r * 40 + o] - want, 2);
          size += want * want;
        }
      }
      // Rounding to steps of largest / limit, largest being some 2.5 standard deviations.
      const double bound = format == ActivationFormat::int8 ? 1.5e-2 : 8e-5;
      EXPECT_LT(std::sqrt(error / size), bound) << bits << " bits";
      EXPECT_GT(size, 0);
    }
  }
}

TEST_P(PackedKernelsTest, bits_are_those_of_the_generic_kernels_on_ragged_shapes) {
  unsigned seed = 3;
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      for (const int outputs : {1, 15, 16, 17, 40, 90}) {
        const DType type = outputs == 15 ? DType::f16 : outputs == 40 ? DType::f32 : DType::bf16;
        const int inputs = group * (outputs % 3 + 1);
        const Matrix m = random_matrix(outputs, inputs, bits, group, type, ++seed);
        for (const int rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
          const auto x = random_rows(rows, inputs, ++seed);
          for (const ActivationFormat format : kFormats) {
            if (format == ActivationFormat::int8 && bits > 4) continue;
            ASSERT_EQ(multiply(kernels, m.weights, x, rows, format),
                      multiply(generic_packed_kernels(), m.weights, x, rows, format))
                << bits << " bits, groups of " << group << ", " << rows << "x" << outputs << "x"
                << inputs;
          }
        }
      }
    }
  }
}

TEST_P(PackedKernelsTest, a_row_and_a_stripe_have_the_same_bits_in_any_company) {
  const Matrix m = random_matrix(56, 192, 4, 64, DType::bf16, 5);
  const auto x = random_rows(111, 192, 6);
  for (const ActivationFormat format : kFormats) {
    const auto together = multiply(kernels, m.weights, x, 111, format);
    for (const std::size_t row : {0U, 3U, 95U, 96U, 110U}) {
      const std::vector<float> alone(x.begin() + static_cast<std::ptrdiff_t>(row * 192),
                                     x.begin() + static_cast<std::ptrdiff_t>((row + 1) * 192));
      for (std::int64_t stripe = 0; stripe < 4; ++stripe) {
        const auto part = multiply(kernels, m.weights, alone, 1, format, stripe, 1);
        for (std::size_t o = 0; o < part.size(); ++o) {
          ASSERT_EQ(part[o], together[row * 56 + static_cast<std::size_t>(stripe) * 16 + o]);
        }
      }
    }
  }
}

TEST_P(PackedKernelsTest, the_largest_sums_do_not_overflow) {
  for (const int bits : {4, 8}) {
    for (const int group : {32, 128}) {
      Matrix m = random_matrix(16, 128, bits, group, DType::f32, 7);
      std::fill(m.codes.begin(), m.codes.end(), std::byte{0xff});
      pack_stripes(m.weights, m.codes.data(), m.scales.data(), m.biases.data(), 0, 1,
                   const_cast<std::byte*>(m.weights.data));
      for (const float sign : {1.0F, -1.0F}) {
        const std::vector<float> x(128, sign * 3.0F);
        for (const ActivationFormat format : kFormats) {
          if (format == ActivationFormat::int8 && bits > 4) continue;
          const auto got = multiply(kernels, m.weights, x, 1, format);
          for (std::size_t o = 0; o < 16; ++o) {
            double want = 0;
            double magnitude = 0;
            for (std::size_t g = 0; g < 128U / static_cast<unsigned>(group); ++g) {
              const std::size_t at = 4 * (o * (128U / static_cast<unsigned>(group)) + g);
              float scale = 0;
              float bias = 0;
              std::memcpy(&scale, m.scales.data() + at, 4);
              std::memcpy(&bias, m.biases.data() + at, 4);
              const double code = (1 << bits) - 1;
              want += group * static_cast<double>(x[0]) * (scale * code + bias);
              magnitude += group * std::abs(static_cast<double>(x[0]) * scale * code);
            }
            EXPECT_NEAR(got[o], want, 1e-5 * magnitude);
          }
        }
      }
    }
  }
}

TEST_P(PackedKernelsTest, what_is_not_finite_stays_so_and_stays_in_its_row) {
  const Matrix m = random_matrix(17, 128, 4, 64, DType::f32, 9);
  const auto good = random_rows(3, 128, 10);
  for (const ActivationFormat format : kFormats) {
    const auto want = multiply(kernels, m.weights, good, 3, format);
    for (const float bad : {std::nanf(""), -std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
      auto x = good;
      x[128 + 70] = bad;
      const auto got = multiply(kernels, m.weights, x, 3, format);
      for (std::size_t o = 0; o < 17; ++o) {
        EXPECT_EQ(got[o], want[o]);
        EXPECT_FALSE(std::isfinite(got[17 + o])) << bad;
        EXPECT_EQ(got[34 + o], want[34 + o]);
      }
    }
  }
}

TEST_P(PackedKernelsTest, zeros_give_zeros) {
  const Matrix m = random_matrix(16, 64, 4, 32, DType::f16, 8);
  const std::vector<float> x(64, 0.0F);
  for (const ActivationFormat format : kFormats) {
    EXPECT_EQ(multiply(kernels, m.weights, x, 1, format), std::vector<float>(16, 0.0F));
  }
}

INSTANTIATE_TEST_SUITE_P(all, PackedKernelsTest, testing::ValuesIn(all_kernels()),
                         [](const auto& param) { return param.param.name; });

class Elements : public testing::TestWithParam<const KernelTable*> {
 protected:
  const ElementKernels& elements = *GetParam()->elements;

  /// Rows together are what each is by itself: raised to its top, then e^(score - top).
  void expect_softmax_rows(int count) {
    constexpr int kRows = 11;
    const int stride = count + 3;
    auto got = random_rows(kRows, stride, static_cast<unsigned>(count) + 2);
    auto want = got;
    std::vector<float> tops(kRows, -1.0F);
    tops[4] = 9.0F;
    std::vector<float> totals(kRows);
    elements.softmax_rows(got.data(), stride, kRows, count, tops.data(), totals.data());
    for (int r = 0; r < kRows; ++r) {
      float* row = want.data() + r * stride;
      const auto i = static_cast<std::size_t>(r);
      EXPECT_EQ(tops[i], std::max(r == 4 ? 9.0F : -1.0F, *std::max_element(row, row + count)));
      EXPECT_EQ(totals[i], generic_element_kernels().exp_sum(row, count, tops[i]));
    }
    EXPECT_EQ(got, want);
  }
};

TEST_P(Elements, exponentials_are_near_the_true_ones) {
  std::vector<float> values;
  for (float x = -83.9F; x < 87.0F; x += 0.0137F) values.push_back(x);
  auto got = values;
  double total = 0;
  for (const float value : values) total += std::exp(static_cast<double>(value) - 3.0);
  EXPECT_NEAR(elements.exp_sum(got.data(), static_cast<int>(got.size()), 3.0F), total,
              1e-5 * total);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double want = std::exp(static_cast<double>(values[i] - 3.0F));
    EXPECT_NEAR(got[i], want, 2.5e-7 * want) << values[i];
  }
  float low = -200.0F;
  EXPECT_EQ(elements.exp_sum(&low, 1, 0.0F), 0.0F);
}

TEST_P(Elements, bits_are_those_of_the_generic_kernels_for_any_count) {
  const ElementKernels& generic = generic_element_kernels();
  for (const int count : {1, 2, 15, 16, 17, 31, 64, 100}) {
    const auto gates = random_rows(1, count, static_cast<unsigned>(count));
    const auto values = random_rows(1, count, static_cast<unsigned>(count) + 1);
    const auto size = static_cast<std::size_t>(count);
    auto got = values;
    auto want = values;
    elements.silu_multiply(gates.data(), got.data(), size);
    generic.silu_multiply(gates.data(), want.data(), size);
    EXPECT_EQ(got, want);
    elements.gelu_tanh_multiply(gates.data(), got.data(), size);
    generic.gelu_tanh_multiply(gates.data(), want.data(), size);
    EXPECT_EQ(got, want);
    elements.sigmoid_multiply(got.data(), got.data(), size);
    generic.sigmoid_multiply(want.data(), want.data(), size);
    EXPECT_EQ(got, want);
    EXPECT_EQ(elements.largest(values.data(), count), *std::ranges::max_element(values));
    got = values;
    want = values;
    EXPECT_EQ(elements.exp_sum(got.data(), count, 0.5F), generic.exp_sum(want.data(), count, 0.5F));
    EXPECT_EQ(got, want);
    expect_softmax_rows(count);
    elements.soft_cap(values.data(), size, 2.0F, got.data());
    generic.soft_cap(values.data(), size, 2.0F, want.data());
    EXPECT_EQ(got, want);
    const auto weights = random_rows(3, count, static_cast<unsigned>(count) + 2);
    const float* inputs[] = {gates.data(), values.data(), weights.data() + count};
    for (const float* bias : {static_cast<const float*>(nullptr), gates.data()}) {
      elements.sum_taps(inputs, weights.data(), size, bias, 3, size, got.data());
      generic.sum_taps(inputs, weights.data(), size, bias, 3, size, want.data());
      EXPECT_EQ(got, want);
    }
    got = values;
    elements.weighted_add(got.data(), 0.75F, gates.data(), -1.5F, size);
    for (std::size_t i = 0; i < size; ++i) {
      const float kept = values[i] * 0.75F;
      const float added = gates[i] * -1.5F;
      EXPECT_EQ(got[i], kept + added);
    }
  }
}

TEST_P(Elements, soft_caps_are_near_the_true_ones) {
  std::vector<float> values{0.0F, -0.0F, 1e-30F, 1e30F, -1e30F};
  for (float x = -400.0F; x < 400.0F; x += 0.0373F) values.push_back(x);
  std::vector<float> got(values.size());
  for (const float cap : {1.0F, 30.0F}) {
    elements.soft_cap(values.data(), values.size(), cap, got.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double want = cap * std::tanh(double{values[i]} / cap);
      EXPECT_NEAR(got[i], want, 4e-7 * std::abs(want)) << values[i] << " capped at " << cap;
    }
  }
  float nan = std::nanf("");
  elements.soft_cap(&nan, 1, 30.0F, &nan);
  EXPECT_TRUE(std::isnan(nan));
}

TEST_P(Elements, taps_are_summed_channel_by_channel) {
  const std::size_t channels = 37;
  const auto inputs = random_rows(4, static_cast<int>(channels), 1);
  const auto weights = random_rows(4, static_cast<int>(channels), 2);
  const auto bias = random_rows(1, static_cast<int>(channels), 3);
  const float* rows[4];
  for (std::size_t t = 0; t < 4; ++t) rows[t] = inputs.data() + t * channels;
  std::vector<float> got(channels);
  // In two parts, as threads share a row.
  constexpr std::size_t kFirst = 20;
  elements.sum_taps(rows, weights.data(), channels, bias.data(), 4, kFirst, got.data());
  for (const float*& row : rows) row += kFirst;
  elements.sum_taps(rows, weights.data() + kFirst, channels, bias.data() + kFirst, 4,
                    channels - kFirst, got.data() + kFirst);
  for (std::size_t c = 0; c < channels; ++c) {
    double want = bias[c];
    for (std::size_t t = 0; t < 4; ++t) {
      want += double{weights[t * channels + c]} * inputs[t * channels + c];
    }
    EXPECT_NEAR(got[c], want, 1e-5);
  }
}

TEST_P(Elements, gates_follow_their_formulas) {
  for (const float x : {-90.0F, -5.0F, -0.3F, 0.0F, 0.7F, 4.0F, 90.0F}) {
    float value = 2.0F;
    elements.silu_multiply(&x, &value, 1);
    EXPECT_NEAR(value, 2.0 * x / (1.0 + std::exp(-double{x})), 1e-6 * std::abs(x) + 1e-30);
    value = 2.0F;
    elements.gelu_tanh_multiply(&x, &value, 1);
    const double u = std::sqrt(2.0 / 3.14159265358979) * (double{x} + 0.044715 * std::pow(x, 3));
    EXPECT_NEAR(value, double{x} * (1.0 + std::tanh(u)), 1e-6 * std::abs(x) + 1e-30);
    value = 2.0F;
    elements.sigmoid_multiply(&x, &value, 1);
    EXPECT_NEAR(value, 2.0 / (1.0 + std::exp(-double{x})), 1e-6);
    value = x;
    elements.sigmoid_multiply(&value, &value, 1);
    EXPECT_NEAR(value, x / (1.0 + std::exp(-double{x})), 1e-6 * std::abs(x) + 1e-30);
  }
}

INSTANTIATE_TEST_SUITE_P(all, Elements,
                         testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace quiver
