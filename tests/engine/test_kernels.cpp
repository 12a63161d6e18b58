// Every kernel table that this machine can run, against plain double arithmetic and the generic
// one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/kernels/kernel_table.hpp"
#include "core/tensor/half.hpp"

namespace quiver {
namespace {

std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

class Kernels : public testing::TestWithParam<const KernelTable*> {};

TEST_P(Kernels, matmul_agrees_with_double_on_ragged_shapes) {
  const KernelTable& table = *GetParam();
  for (const int rows : {1, 2, 3, 4, 5, 9}) {
    for (const int outputs : {1, 2, 3, 6, 7, 13, 24}) {
      for (const int inputs : {1, 7, 8, 15, 16, 17, 31, 64, 100, 577}) {
        const auto n = static_cast<std::size_t>(inputs);
        const auto x = random_floats(static_cast<std::size_t>(rows) * (n + 3), 1);
        const auto w = random_floats(static_cast<std::size_t>(outputs) * n, 2);
        const auto stride = static_cast<std::size_t>(outputs) + 2;
        std::vector<float> out(static_cast<std::size_t>(rows) * stride, -77.0F);
        table.floats->matmul(x.data(), n + 3, rows, w.data(), outputs, inputs, out.data(), stride);
        for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
          for (std::size_t o = 0; o < static_cast<std::size_t>(outputs); ++o) {
            double want = 0;
            double magnitude = 0;
            for (std::size_t i = 0; i < n; ++i) {
              const double product = double{x[r * (n + 3) + i]} * double{w[o * n + i]};
              want += product;
              magnitude += std::abs(product);
            }
            ASSERT_NEAR(out[r * stride + o], want, 1e-6 * magnitude + 1e-12)
                << rows << "x" << outputs << "x" << inputs;
          }
          ASSERT_EQ(out[r * stride + static_cast<std::size_t>(outputs)], -77.0F)
              << "wrote behind a row";
        }
      }
    }
  }
}

TEST_P(Kernels, a_row_has_the_same_bits_in_any_company) {
  const KernelTable& table = *GetParam();
  constexpr int kRows = 11;
  constexpr int kOutputs = 29;
  for (const int inputs : {5, 64, 333}) {
    const auto n = static_cast<std::size_t>(inputs);
    const auto x = random_floats(kRows * n, 3);
    const auto w = random_floats(kOutputs * n, 4);
    std::vector<float> together(static_cast<std::size_t>(kRows) * kOutputs);
    table.floats->matmul(x.data(), n, kRows, w.data(), kOutputs, inputs, together.data(), kOutputs);
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t o = 0; o < kOutputs; ++o) {
        float alone = 0;
        table.floats->matmul(x.data() + r * n, n, 1, w.data() + o * n, 1, inputs, &alone, 1);
        ASSERT_EQ(together[r * kOutputs + o], alone);
      }
    }
  }
}

TEST_P(Kernels, products_of_halves_as_they_lie_have_the_bits_of_converted_ones) {
  const KernelTable& table = *GetParam();
  for (const int rows : {1, 2, 4, 7}) {
    for (const int inputs : {1, 5, 8, 17, 64, 333}) {
      constexpr int kOutputs = 15;
      const auto n = static_cast<std::size_t>(inputs);
      const auto x = random_floats(static_cast<std::size_t>(rows) * n, 5);
      const auto w = random_floats(kOutputs * n, 6);
      // One byte off: weights lie in files at any address.
      std::vector<unsigned char> bytes(2 * w.size() + 1);
      const auto check = [&](auto round, auto product, auto convert) {
        for (std::size_t i = 0; i < w.size(); ++i) {
          const std::uint16_t bits = round(w[i]);
          std::memcpy(bytes.data() + 1 + 2 * i, &bits, 2);
        }
        std::vector<float> converted(w.size());
        convert(bytes.data() + 1, w.size(), converted.data());
        std::vector<float> want(static_cast<std::size_t>(rows) * kOutputs);
        std::vector<float> got(want.size());
        table.floats->matmul(x.data(), n, rows, converted.data(), kOutputs, inputs, want.data(),
                             kOutputs);
        product(x.data(), n, rows, bytes.data() + 1, kOutputs, inputs, got.data(), kOutputs);
        ASSERT_EQ(got, want) << rows << " rows of " << inputs;
      };
      check(f32_to_bf16, table.floats->matmul_bf16, table.floats->bf16_to_f32);
      check(f32_to_f16, table.floats->matmul_f16, table.floats->f16_to_f32);
    }
  }
}

TEST_P(Kernels, every_half_converts_exactly) {
  const KernelTable& table = *GetParam();
  std::vector<std::uint16_t> bits(65536);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  std::vector<float> values(bits.size());
  for (const std::size_t count : {std::size_t{65536}, std::size_t{13}, std::size_t{1}}) {
    table.floats->f16_to_f32(bits.data(), count, values.data());
    for (std::size_t i = 0; i < count; ++i) {
      const float want = f16_to_f32(bits[i]);
      ASSERT_TRUE(values[i] == want || (std::isnan(values[i]) && std::isnan(want))) << i;
    }
    table.floats->bf16_to_f32(bits.data(), count, values.data());
    for (std::size_t i = 0; i < count; ++i) {
      const float want = bf16_to_f32(bits[i]);
      ASSERT_TRUE(values[i] == want || (std::isnan(values[i]) && std::isnan(want))) << i;
    }
  }
}

TEST_P(Kernels, affine_codes_decode_to_the_generic_bits) {
  const KernelTable& table = *GetParam();
  std::mt19937 random(5);
  for (const int group : {32, 64, 128}) {
    const int columns = group * 3;
    std::vector<unsigned char> codes(static_cast<std::size_t>(columns));
    for (auto& code : codes) code = static_cast<unsigned char>(random());
    const auto scales = random_floats(3, 6);
    const auto biases = random_floats(3, 7);
    std::vector<float> got(codes.size());
    std::vector<float> want(codes.size());
    table.floats->decode_affine4(codes.data(), scales.data(), biases.data(), columns, group,
                                 got.data());
    generic_float_kernels().decode_affine4(codes.data(), scales.data(), biases.data(), columns,
                                           group, want.data());
    EXPECT_EQ(got, want);
    EXPECT_EQ(got[1], scales[0] * static_cast<float>(codes[0] >> 4) + biases[0]);
    table.floats->decode_affine8(codes.data(), scales.data(), biases.data(), columns, group,
                                 got.data());
    generic_float_kernels().decode_affine8(codes.data(), scales.data(), biases.data(), columns,
                                           group, want.data());
    EXPECT_EQ(got, want);
  }
}

INSTANTIATE_TEST_SUITE_P(all, Kernels,
                         testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace quiver
