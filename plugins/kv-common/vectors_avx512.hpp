// Sixteen lanes: AVX-512 with F, BW, DQ and VL, and VNNI where the file is built for it.
#pragma once

#include <immintrin.h>

namespace quiver::kv {
namespace {

constexpr int kLanes = 16;
using Vec = __m512;
using Ints = __m512i;

QUIVER_KV_INLINE Vec zeros() {
  return _mm512_setzero_ps();
}
QUIVER_KV_INLINE Vec all(float value) {
  return _mm512_set1_ps(value);
}
QUIVER_KV_INLINE Vec load(const float* from) {
  return _mm512_loadu_ps(from);
}
QUIVER_KV_INLINE void store(float* to, Vec value) {
  _mm512_storeu_ps(to, value);
}
QUIVER_KV_INLINE Vec add(Vec a, Vec b) {
  return _mm512_add_ps(a, b);
}
QUIVER_KV_INLINE Vec multiply(Vec a, Vec b) {
  return _mm512_mul_ps(a, b);
}
/// a * b + c, rounded once where the machine can.
QUIVER_KV_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}

/// Keeps a sum in its register: left alone, the compiler reorders additions of an unrolled loop and
/// spills what it then has to hold.
template <class Sum>
QUIVER_KV_INLINE void keep(Sum& value) {
  __asm__ volatile("" : "+v"(value));
}

QUIVER_KV_INLINE Vec from_f16(const std::uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
QUIVER_KV_INLINE Vec from_bf16(const std::uint16_t* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

QUIVER_KV_INLINE Ints zero_ints() {
  return _mm512_setzero_si512();
}
QUIVER_KV_INLINE Ints load_ints(const std::uint32_t* from) {
  return _mm512_loadu_si512(from);
}
/// Two neighbouring 16-bit numbers in every lane.
QUIVER_KV_INLINE Ints all_pairs(const std::int16_t* from) {
  std::int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return _mm512_set1_epi32(pair);
}
QUIVER_KV_INLINE Vec to_floats(Ints value) {
  return _mm512_cvtepi32_ps(value);
}
/// sum + a.low * b.low + a.high * b.high of the 16-bit halves of each lane.
QUIVER_KV_INLINE Ints dot_pairs(Ints sum, Ints a, Ints b) {
#if defined(__AVX512VNNI__)
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
/// The greater of a magnitude and a number's, lane by lane. Their bits are compared, which grow
/// with them and with which NaN is above all.
QUIVER_KV_INLINE Vec greater_magnitude(Vec magnitude, Vec number) {
  const Ints bits = _mm512_and_si512(_mm512_castps_si512(number), _mm512_set1_epi32(0x7FFFFFFF));
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(magnitude), bits));
}
/// The greatest of magnitudes.
QUIVER_KV_INLINE float greatest(Vec magnitudes) {
  const int bits = _mm512_reduce_max_epi32(_mm512_castps_si512(magnitudes));
  return __builtin_bit_cast(float, bits);
}
/// Writes a unit of numbers times `factor`, rounded to whole ones of 16 bits, ties to even. Returns
/// the sums, to be added over lanes, with the codes added.
QUIVER_KV_INLINE Ints round_unit(const float* from, Vec factor, std::int16_t* to, Ints sums) {
  const Ints codes = _mm512_cvtps_epi32(multiply(load(from), factor));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi32_epi16(codes));
  return _mm512_add_epi32(sums, codes);
}
/// Sum over lanes.
QUIVER_KV_INLINE std::int32_t total(Ints value) {
  return _mm512_reduce_add_epi32(value);
}
/// Sum over lanes, added up by halves.
QUIVER_KV_INLINE float total(Vec value) {
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps(value, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// Pair `kPair` of the codes in each lane, as two 16-bit numbers; see affine pages.
template <int kBits, int kPair>
QUIVER_KV_INLINE Ints code_pairs(Ints word) {
  constexpr int kShift = kBits * kPair;
  const Ints shifted = kPair == 0 ? word : _mm512_srli_epi16(word, kShift);
  if constexpr (kShift + kBits == 16) return shifted;
  return _mm512_and_si512(shifted, _mm512_set1_epi32((1 << kBits) * 0x10001 - 0x10001));
}

/// Codes of a unit in the low bits of each lane, other bits above; see codes.hpp.
template <int kBits>
QUIVER_KV_INLINE Ints unit_codes(const std::byte* from, int /*part*/) {
  const Ints lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if constexpr (kBits == 4) {
    std::int64_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    const Ints shifts = _mm512_slli_epi32(_mm512_srli_epi32(lanes, 1), 2);
    return _mm512_srlv_epi32(_mm512_set1_epi64(bits), shifts);
  } else if constexpr (kBits == 2) {
    std::int32_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return _mm512_srlv_epi32(_mm512_set1_epi32(bits), _mm512_slli_epi32(lanes, 1));
  } else {
    std::int16_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    if constexpr (kBits == 1) return _mm512_srlv_epi32(_mm512_set1_epi16(bits), lanes);
    // The third bit comes to its place from the copy in the upper half.
    __builtin_memcpy(&bits, from + 4, sizeof bits);
    const Ints shifts = _mm512_add_epi32(lanes, _mm512_set1_epi32(14));
    const Ints high = _mm512_srlv_epi32(_mm512_set1_epi16(bits), shifts);
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(3), unit_codes<2>(from, 0), high, 0xCA);
  }
}

/// What each code stands for.
template <int kBits>
struct LookUp {
  Vec table;

  /// `entries` are sixteen: those of the codes again and again.
  QUIVER_KV_INLINE explicit LookUp(const float* entries) : table(load(entries)) {}
  QUIVER_KV_INLINE Vec values(Ints codes) const { return _mm512_permutexvar_ps(codes, table); }
};

}  // namespace
}  // namespace quiver::kv
