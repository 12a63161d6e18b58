// Element types of pages: how 16 stored numbers become float32, and one float32 a stored number.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace quiver::kv_float {

/// Numbers that are handled together: one AVX-512 register, or two or four narrower ones. The
/// compiler splits them, so one source serves every instruction set, with the same bits.
constexpr int kWidth = 16;
using Floats = float __attribute__((vector_size(4 * kWidth)));
using Words = std::uint32_t __attribute__((vector_size(4 * kWidth)));
using SignedWords = std::int32_t __attribute__((vector_size(4 * kWidth)));
using SignedHalves = std::int16_t __attribute__((vector_size(2 * kWidth)));
using Halves = std::uint16_t __attribute__((vector_size(2 * kWidth)));

struct F32 {
  using Stored = float;
  [[gnu::always_inline]] static inline void load(const Stored* from, Floats& to) {
    std::memcpy(&to, from, sizeof to);
  }
  static Stored round(float value) { return value; }
};

struct Bf16 {
  using Stored = std::uint16_t;
  [[gnu::always_inline]] static inline void load(const Stored* from, Floats& to) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    const Words words = __builtin_convertvector(halves, Words) << 16;
    std::memcpy(&to, &words, sizeof to);
  }
  /// To nearest even; a NaN stays a quiet NaN.
  static Stored round(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<Stored>((bits >> 16) | 0x40);
    return static_cast<Stored>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
  }
};

struct F16 {
  using Stored = std::uint16_t;
  [[gnu::always_inline]] static inline void load(const Stored* from, Floats& to) {
    SignedHalves halves;
    std::memcpy(&halves, from, sizeof halves);
    // The copies of the sign that widening makes are cut off but for the highest. As float32, the
    // bits then stand for the value times 2^-112, subnormal ones too.
    const Words widened = (Words) __builtin_convertvector(halves, SignedWords);
    Words bits = (widened << 13) & 0x8FFFE000;
    Floats scaled;
    std::memcpy(&scaled, &bits, sizeof scaled);
    scaled *= 0x1p112F;
    std::memcpy(&bits, &scaled, sizeof bits);
    // Infinities and NaN, now at 2^16 and above, get float32's exponent for them.
    const Words is_special = (Words)((bits & 0x7FFFFFFF) >= 0x47800000);
    bits |= is_special & 0x7F800000;
    std::memcpy(&to, &bits, sizeof to);
  }
  /// To nearest even, beyond 65520 to infinity; a NaN stays a quiet NaN.
  static Stored round(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000;
    const std::uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return static_cast<Stored>(sign | 0x7E00);
    if (magnitude >= 0x47800000) return static_cast<Stored>(sign | 0x7C00);  // 65536
    if (magnitude < 0x38800000) {  // Below 2^-14: whole units of 2^-24.
      const float units = std::bit_cast<float>(magnitude) * 0x1p24F;
      const float rounded = (units + 0x1.8p23F) - 0x1.8p23F;
      return static_cast<Stored>(sign | static_cast<std::uint32_t>(rounded));
    }
    // The carry of the rounding may reach the exponent, which is right.
    const std::uint32_t rebased = magnitude - (112U << 23);
    return static_cast<Stored>(sign | ((rebased + 0xFFF + ((rebased >> 13) & 1)) >> 13));
  }
};

}  // namespace quiver::kv_float
