// Eight lanes: AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

namespace quiver::kv {
namespace {

constexpr int kLanes = 8;
using Vec = __m256;
using Ints = __m256i;

QUIVER_KV_INLINE Vec zeros() {
  return _mm256_setzero_ps();
}
QUIVER_KV_INLINE Vec all(float value) {
  return _mm256_set1_ps(value);
}
QUIVER_KV_INLINE Vec load(const float* from) {
  return _mm256_loadu_ps(from);
}
QUIVER_KV_INLINE void store(float* to, Vec value) {
  _mm256_storeu_ps(to, value);
}
QUIVER_KV_INLINE Vec add(Vec a, Vec b) {
  return _mm256_add_ps(a, b);
}
QUIVER_KV_INLINE Vec multiply(Vec a, Vec b) {
  return _mm256_mul_ps(a, b);
}
/// a * b + c, rounded once where the machine can.
QUIVER_KV_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}

/// Keeps a sum in its register: left alone, the compiler reorders additions of an unrolled loop and
/// spills what it then has to hold.
template <class Sum>
QUIVER_KV_INLINE void keep(Sum& value) {
  __asm__ volatile("" : "+x"(value));
}

QUIVER_KV_INLINE Vec from_f16(const std::uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
QUIVER_KV_INLINE Vec from_bf16(const std::uint16_t* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

QUIVER_KV_INLINE Ints zero_ints() {
  return _mm256_setzero_si256();
}
QUIVER_KV_INLINE Ints load_ints(const std::uint32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
/// Two neighbouring 16-bit numbers in every lane.
QUIVER_KV_INLINE Ints all_pairs(const std::int16_t* from) {
  std::int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return _mm256_set1_epi32(pair);
}
QUIVER_KV_INLINE Vec to_floats(Ints value) {
  return _mm256_cvtepi32_ps(value);
}
/// sum + a.low * b.low + a.high * b.high of the 16-bit halves of each lane. The addition is written
/// out so that the sum stays where it is: with eight of them, the compiler moves them about until
/// one no longer fits a register.
QUIVER_KV_INLINE Ints dot_pairs(Ints sum, Ints a, Ints b) {
  const Ints products = _mm256_madd_epi16(a, b);
  __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
  return sum;
}

/// The greater of a magnitude and a number's, lane by lane. Their bits are compared, which grow
/// with them and with which NaN is above all.
QUIVER_KV_INLINE Vec greater_magnitude(Vec magnitude, Vec number) {
  const Ints bits = _mm256_and_si256(_mm256_castps_si256(number), _mm256_set1_epi32(0x7FFFFFFF));
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(magnitude), bits));
}
/// The greatest of magnitudes.
QUIVER_KV_INLINE float greatest(Vec magnitudes) {
  const Ints bits = _mm256_castps_si256(magnitudes);
  const __m128i fours =
      _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  const __m128i pairs = _mm_max_epi32(fours, _mm_unpackhi_epi64(fours, fours));
  const int found = _mm_cvtsi128_si32(_mm_max_epi32(pairs, _mm_shuffle_epi32(pairs, 1)));
  return __builtin_bit_cast(float, found);
}
/// Writes a unit of numbers times `factor`, rounded to whole ones of 16 bits, ties to even. Returns
/// the sums, to be added over lanes, with the codes added.
QUIVER_KV_INLINE Ints round_unit(const float* from, Vec factor, std::int16_t* to, Ints sums) {
  const Ints low = _mm256_cvtps_epi32(multiply(load(from), factor));
  const Ints high = _mm256_cvtps_epi32(multiply(load(from + kLanes), factor));
  const Ints codes = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), codes);
  return _mm256_add_epi32(sums, _mm256_add_epi32(low, high));
}
/// Sum over lanes.
QUIVER_KV_INLINE std::int32_t total(Ints value) {
  const __m128i fours =
      _mm_add_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
  const __m128i pairs = _mm_add_epi32(fours, _mm_unpackhi_epi64(fours, fours));
  return _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 1)));
}
/// Sum over lanes, added up by halves.
QUIVER_KV_INLINE float total(Vec value) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// Pair `kPair` of the codes in each lane, as two 16-bit numbers; see affine pages.
template <int kBits, int kPair>
QUIVER_KV_INLINE Ints code_pairs(Ints word) {
  constexpr int kShift = kBits * kPair;
  const Ints shifted = kPair == 0 ? word : _mm256_srli_epi16(word, kShift);
  if constexpr (kShift + kBits == 16) return shifted;
  return _mm256_and_si256(shifted, _mm256_set1_epi32((1 << kBits) * 0x10001 - 0x10001));
}

/// Codes of one part of a unit in the low bits of each lane, other bits above; see codes.hpp.
template <int kBits>
QUIVER_KV_INLINE Ints unit_codes(const std::byte* from, int part) {
  const Ints lanes =
      _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(part * kLanes));
  if constexpr (kBits == 4) {
    std::int64_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    const Ints shifts = _mm256_slli_epi32(_mm256_srli_epi32(lanes, 1), 2);
    return _mm256_srlv_epi32(_mm256_set1_epi64x(bits), shifts);
  } else if constexpr (kBits == 2) {
    std::int32_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return _mm256_srlv_epi32(_mm256_set1_epi32(bits), _mm256_slli_epi32(lanes, 1));
  } else {
    std::int16_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    if constexpr (kBits == 1) return _mm256_srlv_epi32(_mm256_set1_epi16(bits), lanes);
    // The third bit comes to its place from the copy in the upper half.
    __builtin_memcpy(&bits, from + 4, sizeof bits);
    const Ints shifts = _mm256_add_epi32(lanes, _mm256_set1_epi32(14));
    const Ints high = _mm256_srlv_epi32(_mm256_set1_epi16(bits), shifts);
    const Ints low = _mm256_and_si256(unit_codes<2>(from, part), _mm256_set1_epi32(3));
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi32(4)));
  }
}

/// What each code stands for.
template <int kBits>
struct LookUp {
  Vec table;

  /// `entries` are sixteen: those of the codes again and again. Of four bits, the highest is the
  /// sign.
  QUIVER_KV_INLINE explicit LookUp(const float* entries) : table(load(entries)) {}
  QUIVER_KV_INLINE Vec values(Ints codes) const {
    const Vec found = _mm256_permutevar8x32_ps(table, codes);
    if constexpr (kBits < 4) return found;
    const Vec sign =
        _mm256_and_ps(_mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)), _mm256_set1_ps(-0.0F));
    return _mm256_xor_ps(found, sign);
  }
};

}  // namespace
}  // namespace quiver::kv
