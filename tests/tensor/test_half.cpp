// Tests of the 16-bit float conversions against their definition.
#include "core/tensor/half.hpp"

#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace {

using namespace quiver;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The value of finite half bits by the definition of the format.
double defined_f16(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Half, f16_to_f32_is_the_defined_value_for_every_finite_number) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if ((half & 0x7C00) == 0x7C00) continue;
    ASSERT_EQ(f16_to_f32(half), defined_f16(half)) << bits;
    ASSERT_EQ(std::signbit(f16_to_f32(half)), (half & 0x8000) != 0) << bits;
  }
}

TEST(Half, every_f16_survives_the_way_through_f32_and_nans_become_quiet) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const bool is_nan = (half & 0x7FFF) > 0x7C00;
    const auto expected = static_cast<std::uint16_t>(is_nan ? half | 0x0200 : half);
    ASSERT_EQ(f32_to_f16(f16_to_f32(half)), expected) << bits;
    ASSERT_EQ(std::isnan(f16_to_f32(half)), is_nan) << bits;
  }
}

TEST(Half, f32_to_f16_rounds_to_nearest_and_ties_to_even_between_all_neighbours) {
  // The largest finite number's upper neighbour would be 65536: half way to it lies infinity.
  for (std::uint16_t low = 0; low < 0x7C00; ++low) {
    const auto high = static_cast<std::uint16_t>(low + 1);
    const double above = high == 0x7C00 ? 65536.0 : defined_f16(high);
    const auto middle = static_cast<float>((defined_f16(low) + above) / 2);
    const std::uint16_t even = (low & 1) == 0 ? low : high;
    for (const std::uint16_t sign : {0, 0x8000}) {
      const float signed_middle = sign != 0 ? -middle : middle;
      const float toward_low = std::nextafter(signed_middle, 0.0F);
      const float toward_high = std::nextafter(signed_middle, sign != 0 ? -kInfinity : kInfinity);
      ASSERT_EQ(f32_to_f16(signed_middle), even | sign) << low;
      ASSERT_EQ(f32_to_f16(toward_low), low | sign) << low;
      ASSERT_EQ(f32_to_f16(toward_high), high | sign) << low;
    }
  }
}

TEST(Half, f32_to_f16_handles_the_ends_of_float32) {
  EXPECT_EQ(f32_to_f16(kInfinity), 0x7C00);
  EXPECT_EQ(f32_to_f16(-kInfinity), 0xFC00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::denorm_min()), 0x8000);
  // A NaN whose payload lies below what f16 keeps must not turn into infinity.
  EXPECT_EQ(f32_to_f16(std::bit_cast<float>(0x7F800001U)), 0x7E00);
  EXPECT_EQ(f32_to_f16(std::bit_cast<float>(0xFFFFFFFFU)), 0xFFFF);
}

TEST(Half, bf16_is_the_upper_half_of_f32) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    const bool is_nan = (stored & 0x7FFF) > 0x7F80;
    const std::uint32_t expected = bits << 16 | (is_nan ? 0x00400000U : 0U);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(bf16_to_f32(stored)), expected);
    ASSERT_EQ(f32_to_bf16(bf16_to_f32(stored)), expected >> 16);
  }
}

TEST(Half, f32_to_bf16_rounds_to_nearest_and_ties_to_even) {
  for (std::uint32_t low = 0; low < 0x7F80; ++low) {
    const std::uint32_t middle = low << 16 | 0x8000U;
    const std::uint32_t even = low + (low & 1U);
    for (const std::uint32_t sign : {0U, 0x8000U}) {
      const auto rounded = [&](std::uint32_t bits) {
        return f32_to_bf16(std::bit_cast<float>(bits | sign << 16));
      };
      ASSERT_EQ(rounded(middle), even | sign);
      ASSERT_EQ(rounded(middle - 1), low | sign);
      ASSERT_EQ(rounded(middle + 1), (low + 1) | sign);
    }
  }
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7F800001U)), 0x7FC0);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0xFF800001U)), 0xFFC0);
}

template <class Stored>
std::vector<float> converted(DType type, const std::vector<Stored>& elements) {
  // One byte of offset: stored tensors begin anywhere.
  std::vector<std::byte> bytes(elements.size() * sizeof(Stored) + 1);
  std::memcpy(bytes.data() + 1, elements.data(), bytes.size() - 1);
  std::vector<float> values(elements.size());
  to_float(type, std::span(bytes).subspan(1), values);
  return values;
}

TEST(Half, to_float_reads_every_element_type_at_any_alignment) {
  using Floats = std::vector<float>;
  EXPECT_EQ(converted<float>(DType::f32, {1.5F, -2.0F}), (Floats{1.5F, -2.0F}));
  EXPECT_EQ(converted<double>(DType::f64, {1.0 / 3, -2.0}), (Floats{1.0F / 3, -2.0F}));
  EXPECT_EQ(converted<std::uint16_t>(DType::f16, {0x3C00, 0xC100, 1}),
            (Floats{1.0F, -2.5F, 0x1p-24F}));
  EXPECT_EQ(converted<std::uint16_t>(DType::bf16, {0x3F80, 0xC020}), (Floats{1.0F, -2.5F}));
  EXPECT_EQ(converted<std::uint8_t>(DType::u8, {0, 255}), (Floats{0, 255}));
  EXPECT_EQ(converted<std::int8_t>(DType::i8, {-128, 127}), (Floats{-128, 127}));
  EXPECT_EQ(converted<std::uint16_t>(DType::u16, {65535, 1}), (Floats{65535, 1}));
  EXPECT_EQ(converted<std::int16_t>(DType::i16, {-32768, 1}), (Floats{-32768, 1}));
  EXPECT_EQ(converted<std::uint32_t>(DType::u32, {0x80000000U, 7}), (Floats{0x1p31F, 7}));
  EXPECT_EQ(converted<std::int32_t>(DType::i32, {-7, INT32_MIN}), (Floats{-7, -0x1p31F}));
  EXPECT_EQ(converted<std::uint64_t>(DType::u64, {1ULL << 63, 7}), (Floats{0x1p63F, 7}));
  EXPECT_EQ(converted<std::int64_t>(DType::i64, {INT64_MIN, -7}), (Floats{-0x1p63F, -7}));
  EXPECT_EQ(converted<std::uint8_t>(DType::boolean, {0, 1, 2}), (Floats{0, 1, 1}));
}

TEST(Half, from_float_writes_what_to_float_reads) {
  std::vector<float> values;
  for (int i = 0; i < 100; ++i)
    values.push_back(std::ldexp(1.0F + static_cast<float>(i), i % 9 - 5));
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<std::byte> bytes(values.size() * size_bytes(type) + 1);
    const auto place = std::span(bytes).subspan(1);
    from_float(values, type, place);
    std::vector<float> read(values.size());
    to_float(type, place, read);
    EXPECT_EQ(read, values);
  }
}

TEST(Half, conversions_refuse_buffers_that_do_not_fit) {
  std::vector<std::byte> bytes(7);
  std::vector<float> values(2);
  quiver::test::expect_refused([&] { to_float(DType::f32, bytes, values); }, "different sizes",
                               ErrorCode::internal);
  quiver::test::expect_refused([&] { from_float(values, DType::f16, bytes); }, "different sizes",
                               ErrorCode::internal);
  quiver::test::expect_refused([&] { from_float(values, DType::u8, std::span(bytes).first(2)); },
                               "stored as f32", ErrorCode::internal);
}

}  // namespace
