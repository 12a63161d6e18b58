// Tests that blocks become affine groups without loss.
#include "core/tensor/gguf_affine.hpp"

#include "core/tensor/half.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace {

using namespace quiver;
using quiver::test::expect_refused;

struct Groups {
  std::vector<std::uint32_t> codes;
  std::vector<std::byte> scales;
  std::vector<std::byte> biases;
};

/// Room for `count` groups, and the conversion into it.
bool convert(GgufType type, const std::vector<std::byte>& blocks, DType scale_type,
             Groups& groups) {
  const std::size_t count = blocks.size() / info_of(type).block_bytes;
  groups.codes.assign(count * static_cast<std::size_t>(affine_bits(type).value()), 0);
  groups.scales.assign(count * size_bytes(scale_type), std::byte{});
  groups.biases = groups.scales;
  return affine_from_blocks(type, blocks, scale_type, groups.codes, groups.scales, groups.biases);
}

/// scale * code + bias in float32, the code taken from the bit stream as its definition says.
std::vector<float> values_of(const Groups& groups, DType scale_type, int bits) {
  const std::size_t count = groups.scales.size() / size_bytes(scale_type);
  std::vector<float> scales(count);
  std::vector<float> biases(count);
  to_float(scale_type, groups.scales, scales);
  to_float(scale_type, groups.biases, biases);
  std::vector<float> values(count * 32);
  for (std::size_t k = 0; k < values.size(); ++k) {
    std::uint32_t code = 0;
    for (int bit = 0; bit < bits; ++bit) {
      const std::size_t at = k * static_cast<std::size_t>(bits) + static_cast<std::size_t>(bit);
      code |= ((groups.codes[at / 32] >> (at % 32)) & 1U) << bit;
    }
    values[k] = scales[k / 32] * static_cast<float>(code) + biases[k / 32];
  }
  return values;
}

/// Blocks of random codes whose scales and minimums are random halves below 2^`exponent`.
std::vector<std::byte> random_blocks(GgufType type, std::size_t count, int exponent) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(count * info_of(type).block_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 255U);
  const std::size_t halves = type == GgufType::q4_1 ? 2 : 1;
  for (std::size_t i = 0; i < count * halves; ++i) {
    // Every sign, every mantissa, and every exponent down to subnormals and zero.
    const std::uint32_t magnitude = random() % static_cast<std::uint32_t>((exponent + 15) << 10);
    const auto half = static_cast<std::uint16_t>(magnitude | (random() & 0x8000U));
    std::memcpy(bytes.data() + i / halves * info_of(type).block_bytes + i % halves * 2, &half, 2);
  }
  return bytes;
}

TEST(GgufAffine, groups_equal_the_decoded_blocks) {
  struct Case {
    GgufType type;
    int exponent;  // Largest for which the bias stays within f16.
    int bits;
  };
  for (const Case& one :
       {Case{GgufType::q4_0, 13, 4}, Case{GgufType::q4_1, 16, 4}, Case{GgufType::q8_0, 9, 8}}) {
    const auto blocks = random_blocks(one.type, 5000, one.exponent);
    std::vector<float> expected(5000 * 32);
    dequantize(one.type, blocks, expected);
    EXPECT_EQ(affine_scale_type(one.type, blocks), DType::f16);
    for (const DType scale_type : {DType::f16, DType::f32}) {
      Groups groups;
      ASSERT_TRUE(convert(one.type, blocks, scale_type, groups));
      EXPECT_EQ(values_of(groups, scale_type, one.bits), expected) << info_of(one.type).name;
    }
  }
}

TEST(GgufAffine, large_scales_need_float32) {
  for (const GgufType type : {GgufType::q4_0, GgufType::q8_0}) {
    const auto blocks = random_blocks(type, 5000, 16);
    std::vector<float> expected(5000 * 32);
    dequantize(type, blocks, expected);
    EXPECT_EQ(affine_scale_type(type, blocks), DType::f32);
    Groups groups;
    EXPECT_FALSE(convert(type, blocks, DType::f16, groups));
    ASSERT_TRUE(convert(type, blocks, DType::f32, groups));
    EXPECT_EQ(values_of(groups, DType::f32, *affine_bits(type)), expected);
  }
}

/// One block whose scale has these bits.
std::vector<std::byte> block_with_scale(GgufType type, std::uint16_t scale) {
  std::vector<std::byte> block(info_of(type).block_bytes);
  std::memcpy(block.data(), &scale, 2);
  return block;
}

TEST(GgufAffine, the_limit_of_f16_biases_is_exact) {
  const auto type_for = [](GgufType type, float scale) {
    return affine_scale_type(type, block_with_scale(type, f32_to_f16(scale)));
  };
  EXPECT_EQ(type_for(GgufType::q8_0, 511.75F), DType::f16);  // 128 * 511.75 = 65504
  EXPECT_EQ(type_for(GgufType::q8_0, 512.0F), DType::f32);
  EXPECT_EQ(type_for(GgufType::q8_0, -512.0F), DType::f32);
  EXPECT_EQ(type_for(GgufType::q4_0, 8188.0F), DType::f16);  // 8 * 8188 = 65504
  EXPECT_EQ(type_for(GgufType::q4_0, 8192.0F), DType::f32);
  EXPECT_EQ(type_for(GgufType::q4_1, 65504.0F), DType::f16);
}

TEST(GgufAffine, the_packed_order_is_that_of_elements) {
  std::vector<std::byte> block = block_with_scale(GgufType::q4_0, 0x3C00);
  for (std::size_t i = 0; i < 16; ++i) {
    // Element i has the code i, element 16 + i the code 15 - i.
    block[2 + i] = static_cast<std::byte>(i | (15 - i) << 4);
  }
  Groups groups;
  ASSERT_TRUE(convert(GgufType::q4_0, block, DType::f16, groups));
  EXPECT_EQ(groups.codes,
            (std::vector<std::uint32_t>{0x76543210, 0xFEDCBA98, 0x89ABCDEF, 0x01234567}));
  EXPECT_EQ(f16_to_f32(0xC800), -8.0F);
  EXPECT_EQ(groups.biases, (std::vector<std::byte>{std::byte{0x00}, std::byte{0xC8}}));
}

TEST(GgufAffine, scales_that_are_no_finite_numbers_are_refused) {
  for (const GgufType type : {GgufType::q4_0, GgufType::q4_1, GgufType::q8_0}) {
    for (const std::uint16_t scale : {0x7C00, 0xFC00, 0x7E00}) {
      std::vector<std::byte> blocks = block_with_scale(type, 0x3C00);
      const auto bad = block_with_scale(type, scale);
      blocks.insert(blocks.end(), bad.begin(), bad.end());
      expect_refused([&] { affine_scale_type(type, blocks); }, "block 1 has a scale");
      Groups groups;
      EXPECT_FALSE(convert(type, blocks, DType::f32, groups));
    }
  }
}

TEST(GgufAffine, other_types_and_sizes_are_refused) {
  EXPECT_EQ(affine_bits(GgufType::q5_0), std::nullopt);
  EXPECT_EQ(affine_bits(GgufType::q4_k), std::nullopt);
  EXPECT_EQ(affine_bits(GgufType::f32), std::nullopt);
  const std::vector<std::byte> bytes(36);
  const auto internal = ErrorCode::internal;
  expect_refused([&] { affine_scale_type(GgufType::q5_0, bytes); }, "no affine form", internal);
  expect_refused([&] { affine_scale_type(GgufType::q4_0, std::span(bytes).first(17)); },
                 "a piece of a block", internal);
  std::vector<std::uint32_t> codes(8);
  std::vector<std::byte> scales(4);
  const auto expect_misfit = [&](DType type, std::size_t words, std::size_t scale_bytes,
                                 std::size_t bias_bytes) {
    expect_refused(
        [&] {
          (void)affine_from_blocks(GgufType::q4_0, bytes, type, std::span(codes).first(words),
                                   std::span(scales).first(scale_bytes),
                                   std::span(scales).first(bias_bytes));
        },
        "", internal);
  };
  expect_misfit(DType::f16, 7, 4, 4);
  expect_misfit(DType::f16, 8, 2, 4);
  expect_misfit(DType::f16, 8, 4, 2);
  expect_misfit(DType::f32, 8, 4, 4);
  expect_misfit(DType::bf16, 8, 4, 4);
}

}  // namespace
