// Rounding a float32 to 16 bits.
#pragma once

#include <cstdint>

namespace quiver::kv {
namespace {

/// To the nearest float16, ties to even, beyond 65520 to infinity; a NaN stays a quiet NaN.
[[gnu::always_inline]] inline std::uint16_t to_f16(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<std::uint16_t>(sign | 0x7E00);
  if (magnitude >= 0x47800000) return static_cast<std::uint16_t>(sign | 0x7C00);  // 65536
  if (magnitude < 0x38800000) {  // Below 2^-14: whole units of 2^-24.
    const float units = __builtin_bit_cast(float, magnitude) * 0x1p24F;
    const float rounded = (units + 0x1.8p23F) - 0x1.8p23F;
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(rounded));
  }
  // The carry of the rounding may reach the exponent, which is right.
  const std::uint32_t rebased = magnitude - (112U << 23);
  return static_cast<std::uint16_t>(sign | ((rebased + 0xFFF + ((rebased >> 13) & 1)) >> 13));
}

/// The float32 that a finite float16 stands for.
[[gnu::always_inline]] inline float finite_f16(std::uint16_t half) {
  const std::uint32_t bits = (half & 0x7FFFU) << 13;
  const float magnitude = __builtin_bit_cast(float, bits) * 0x1p112F;
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

/// To the nearest bfloat16, ties to even; a NaN stays a quiet NaN.
[[gnu::always_inline]] inline std::uint16_t to_bf16(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace
}  // namespace quiver::kv
