// Conversions between float32 and the 16-bit float formats, and of stored elements to float32.
#pragma once

#include <quiver/dtype.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace quiver {

/// All ones where `condition` holds, else zero: choices between values that are both computed,
/// which compilers turn into vector code where branches around float arithmetic stop them.
constexpr std::uint32_t mask_if(bool condition) noexcept {
  return 0U - static_cast<std::uint32_t>(condition);
}

/// Value of IEEE binary16 bits; exact. Infinities stay, NaNs become quiet and keep sign and
/// payload. [any-thread]
inline float f16_to_f32(std::uint16_t half) noexcept {
  const std::uint32_t sign = (half & 0x8000U) << 16;
  const std::uint32_t magnitude = half & 0x7FFFU;
  // Exponents move from bias 15 to bias 127; the largest one (infinity, NaN) moves to the top.
  const std::uint32_t top = mask_if(magnitude >= 0x7C00U) & (112U << 23);
  const std::uint32_t quiet = mask_if(magnitude > 0x7C00U) & 0x00400000U;
  const std::uint32_t normal = ((magnitude << 13) + (112U << 23) + top) | quiet;
  // Subnormals count steps of 2^-24: converting the count normalizes it, and the product is exact.
  const auto subnormal = std::bit_cast<std::uint32_t>(
      static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24F);
  const std::uint32_t is_subnormal = mask_if(magnitude < 0x0400U);
  return std::bit_cast<float>(sign | (subnormal & is_subnormal) | (normal & ~is_subnormal));
}

/// Nearest binary16, ties to even; from 65520 on infinity. NaNs become quiet and keep their sign.
/// [any-thread]
inline std::uint16_t f32_to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  // Adding half a step, less one where the kept part is even, carries exactly when rounding up
  // does; a carry out of the mantissa raises the exponent, as it should.
  const std::uint32_t normal =
      (magnitude - (112U << 23) + 0x0FFFU + ((magnitude >> 13) & 1U)) >> 13;
  // Below 2^-14 the steps are 2^-24 wide, which is the last place of numbers in [0.5, 1): the
  // addition rounds to it.
  const std::uint32_t is_subnormal = mask_if(magnitude < 0x38800000U);
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude & is_subnormal) + 0.5F) -
      0x3F000000U;
  const std::uint32_t is_infinite = mask_if(magnitude >= 0x477FF000U);
  const std::uint32_t is_nan = mask_if(magnitude > 0x7F800000U);
  const std::uint32_t finite = (subnormal & is_subnormal) | (normal & ~is_subnormal);
  const std::uint32_t nan_bits = is_nan & (0x0200U | ((magnitude >> 13) & 0x01FFU));
  const std::uint32_t half = (finite & ~is_infinite) | (0x7C00U & is_infinite) | nan_bits;
  return static_cast<std::uint16_t>(sign | half);
}

/// Value of bfloat16 bits; exact. NaNs become quiet. [any-thread]
inline float bf16_to_f32(std::uint16_t bits16) noexcept {
  const std::uint32_t bits = static_cast<std::uint32_t>(bits16) << 16;
  const std::uint32_t quiet = (bits & 0x7FFFFFFFU) > 0x7F800000U ? 0x00400000U : 0U;
  return std::bit_cast<float>(bits | quiet);
}

/// Nearest bfloat16, ties to even. NaNs become quiet and keep their sign. [any-thread]
inline std::uint16_t f32_to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x0040U;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? nan : rounded);
}

/// Converts stored elements to float32: `bytes` holds `values.size()` little-endian elements of
/// `type`, at any alignment. f16, bf16, 8- and 16-bit integers and booleans are exact (a boolean is
/// 0 or 1); wider types round to nearest. Throws Error(internal) where the sizes differ.
/// [any-thread]
void to_float(DType type, std::span<const std::byte> bytes, std::span<float> values);

/// Rounds `values` to `type` (f32, f16 or bf16; nearest, ties to even) into `bytes`, at any
/// alignment. Throws Error(internal) for another type or where the sizes differ. [any-thread]
void from_float(std::span<const float> values, DType type, std::span<std::byte> bytes);

}  // namespace quiver
