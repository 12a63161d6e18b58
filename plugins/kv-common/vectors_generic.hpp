// Four lanes of whatever the machine has: the compiler's own vectors.
#pragma once

namespace quiver::kv {
namespace {

constexpr int kLanes = 4;
using Vec = float __attribute__((vector_size(16)));
using Ints = std::int32_t __attribute__((vector_size(16)));
using Words = std::uint32_t __attribute__((vector_size(16)));
using Halves = std::uint16_t __attribute__((vector_size(8)));
using Bytes = std::uint8_t __attribute__((vector_size(4)));

QUIVER_KV_INLINE Vec zeros() {
  return Vec{};
}
QUIVER_KV_INLINE Vec all(float value) {
  return Vec{value, value, value, value};
}
QUIVER_KV_INLINE Vec load(const float* from) {
  Vec value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
QUIVER_KV_INLINE void store(float* to, Vec value) {
  __builtin_memcpy(to, &value, sizeof value);
}
QUIVER_KV_INLINE Vec add(Vec a, Vec b) {
  return a + b;
}
QUIVER_KV_INLINE Vec multiply(Vec a, Vec b) {
  return a * b;
}
/// a * b + c, rounded once where the machine can.
QUIVER_KV_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  return a * b + c;
}

/// See the wider sets; here, sums go where the compiler wants them.
template <class Sum>
QUIVER_KV_INLINE void keep(Sum& /*value*/) {}

QUIVER_KV_INLINE Words load_halves(const std::uint16_t* from) {
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return __builtin_convertvector(halves, Words);
}
QUIVER_KV_INLINE Vec from_f16(const std::uint16_t* from) {
  const Words halves = load_halves(from);
  // As float32, these bits stand for the value times 2^-112, subnormal ones too.
  const Vec magnitude = (Vec)((halves & 0x7FFF) << 13) * 0x1p112F;
  // Infinities and NaN, now at 2^16 and above, get float32's exponent for them.
  const Words special = (Words)((halves & 0x7FFF) >= 0x7C00) & 0x7F800000;
  return (Vec)((Words)magnitude | special | ((halves & 0x8000) << 16));
}
QUIVER_KV_INLINE Vec from_bf16(const std::uint16_t* from) {
  return (Vec)(load_halves(from) << 16);
}

QUIVER_KV_INLINE Ints zero_ints() {
  return Ints{};
}
QUIVER_KV_INLINE Ints load_ints(const std::uint32_t* from) {
  Ints value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
/// Two neighbouring 16-bit numbers in every lane.
QUIVER_KV_INLINE Ints all_pairs(const std::int16_t* from) {
  std::int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return Ints{pair, pair, pair, pair};
}
QUIVER_KV_INLINE Vec to_floats(Ints value) {
  return __builtin_convertvector(value, Vec);
}
/// sum + a.low * b.low + a.high * b.high of the 16-bit halves of each lane.
QUIVER_KV_INLINE Ints dot_pairs(Ints sum, Ints a, Ints b) {
  return sum + ((Ints)((Words)a << 16) >> 16) * ((Ints)((Words)b << 16) >> 16) +
         (a >> 16) * (b >> 16);
}

/// The greater of a magnitude and a number's, lane by lane. Their bits are compared, which grow
/// with them and with which NaN is above all.
QUIVER_KV_INLINE Vec greater_magnitude(Vec magnitude, Vec number) {
  const Ints old = (Ints)magnitude;
  const Ints bits = (Ints)number & 0x7FFFFFFF;
  const Ints is_greater = bits > old;
  return (Vec)((bits & is_greater) | (old & ~is_greater));
}
/// The greatest of magnitudes.
QUIVER_KV_INLINE float greatest(Vec magnitudes) {
  const Ints bits = (Ints)magnitudes;
  std::int32_t most = 0;
  for (int i = 0; i < kLanes; ++i) most = bits[i] > most ? bits[i] : most;
  return __builtin_bit_cast(float, most);
}
/// Writes a unit of numbers times `factor`, rounded to whole ones of 16 bits, ties to even. Returns
/// the sums, to be added over lanes, with the codes added.
QUIVER_KV_INLINE Ints round_unit(const float* from, Vec factor, std::int16_t* to, Ints sums) {
  for (int at = 0; at < 16; at += kLanes) {
    // The sum with this has the rounded number in its lowest bits.
    const Ints codes = (Ints)(load(from + at) * factor + 0x1.8p23F) - 0x4B400000;
    for (int i = 0; i < kLanes; ++i) to[at + i] = static_cast<std::int16_t>(codes[i]);
    sums += codes;
  }
  return sums;
}
/// Sum over lanes.
QUIVER_KV_INLINE std::int32_t total(Ints value) {
  return value[0] + value[1] + value[2] + value[3];
}
/// Sum over lanes, added up by halves.
QUIVER_KV_INLINE float total(Vec value) {
  return (value[0] + value[2]) + (value[1] + value[3]);
}

/// Pair `kPair` of the codes in each lane, as two 16-bit numbers; see affine pages.
template <int kBits, int kPair>
QUIVER_KV_INLINE Ints code_pairs(Ints word) {
  constexpr std::uint32_t kMask = (1U << kBits) * 0x10001U - 0x10001U;
  return (Ints)(((Words)word >> (kBits * kPair)) & kMask);
}

/// Codes of one part of a unit in each lane; see codes.hpp.
template <int kBits>
QUIVER_KV_INLINE Ints unit_codes(const std::byte* from, int part) {
  Ints codes;
  for (int lane = 0; lane < kLanes; ++lane) {
    codes[lane] = static_cast<std::int32_t>(code_of<kBits>(from, part * kLanes + lane));
  }
  return codes;
}

/// What each code stands for.
template <int kBits>
struct LookUp {
  const float* table;

  /// `entries` are sixteen: those of the codes again and again.
  QUIVER_KV_INLINE explicit LookUp(const float* entries) : table(entries) {}
  QUIVER_KV_INLINE Vec values(Ints codes) const {
    return Vec{table[codes[0]], table[codes[1]], table[codes[2]], table[codes[3]]};
  }
};

}  // namespace
}  // namespace quiver::kv
