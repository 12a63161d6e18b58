// Products of the codes in words with numbers rounded to 16 bits, by what instructions allow.
#pragma once

#include "kv-common/vectors.hpp"
#include "layout.hpp"

namespace quiver::kv_affine {
namespace {

using kv::Ints;
using kv::kLanes;
using kv::kMostQueries;
using kv::kParts;
using kv::kUnit;
using kv::Vec;

/// What numbers are rounded to at most: both bytes of such a number have a sign of their own, see
/// WordDots<8>.
constexpr float kLargest = 127 * 256 + 127;

/// Pairs of a word's codes, masked, with the same pairs of numbers. The word is read for each pair
/// anew, since eight lanes leave no registers to hold it.
template <int kBits>
struct WordDots {
  static constexpr int kPairs = 16 / kBits;
  static constexpr int kSums = 1;  ///< Sums that a result is made from.

  /// How many units beside each other registers hold the sums of.
  static constexpr int beside(int /*queries*/, int units) { return units; }

  /// Rounds a unit of numbers times `factor` to what add() takes; see kv::round_unit.
  QUIVER_KV_INLINE static Ints round_unit(const float* from, Vec factor, std::int16_t* to,
                                          Ints sums) {
    return kv::round_unit(from, factor, to, sums);
  }

  /// Adds the products of one word of each unit; units lie `unit_words` apart, queries' numbers
  /// kPiece.
  template <int kQueries, int kBeside>
  QUIVER_KV_INLINE static void add(const std::uint32_t* words, std::size_t unit_words,
                                   const std::int16_t* codes,
                                   Ints (&sums)[kSums][kQueries][kBeside][kParts]) {
    add_pair<0>(words, unit_words, codes, sums[0]);
    add_pair<1>(words, unit_words, codes, sums[0]);
    if constexpr (kPairs == 4) {
      add_pair<2>(words, unit_words, codes, sums[0]);
      add_pair<3>(words, unit_words, codes, sums[0]);
    }
  }

  /// The result of one unit for one query.
  template <int kQueries, int kBeside>
  QUIVER_KV_INLINE static Ints total(const Ints (&sums)[kSums][kQueries][kBeside][kParts], int q,
                                     int b, int p) {
    return sums[0][q][b][p];
  }

 private:
  template <int kPair, int kQueries, int kBeside>
  QUIVER_KV_INLINE static void add_pair(const std::uint32_t* words, std::size_t unit_words,
                                        const std::int16_t* codes,
                                        Ints (&sums)[kQueries][kBeside][kParts]) {
    Ints read[kBeside][kParts];
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        const std::uint32_t* from = words + static_cast<std::size_t>(b) * unit_words + p * kLanes;
        read[b][p] = kv::code_pairs<kBits, kPair>(kv::load_ints(from));
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const Ints query = kv::all_pairs(codes + q * static_cast<int>(kPiece) + 2 * kPair);
#pragma GCC unroll 8
      for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
        for (int p = 0; p < kParts; ++p) {
          sums[q][b][p] = kv::dot_pairs(sums[q][b][p], read[b][p], query);
          kv::keep(sums[q][b][p]);
        }
      }
    }
  }
};

#if defined(__AVX512VNNI__)
/// Where four products of bytes are one instruction, a word is taken as it lies: once with the low
/// bytes of the numbers and once with the high ones. Low bytes count from -128 to 127, and what
/// that takes away from a number the high one has more.
template <>
struct WordDots<8> {
  static constexpr int kSums = 2;

  static constexpr int beside(int queries, int units) {
    const int most = kv::kSums / (kSums * queries);
    return most < 1 ? 1 : most < units ? most : units;
  }

  QUIVER_KV_INLINE static Ints round_unit(const float* from, Vec factor, std::int16_t* to,
                                          Ints sums) {
    const Ints codes = _mm512_cvtps_epi32(kv::multiply(kv::load(from), factor));
    const Ints sign = _mm512_and_si512(codes, _mm512_set1_epi32(0x80));
    const __m256i bytes =
        _mm512_cvtepi32_epi16(_mm512_add_epi32(codes, _mm512_add_epi32(sign, sign)));
    // Low bytes, then high ones, of a word's four numbers in the order of its codes.
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 2, 6, 1, 5, 3, 7, 8, 12, 10, 14, 9, 13, 11, 15));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_shuffle_epi8(bytes, order));
    return _mm512_add_epi32(sums, codes);
  }

  template <int kQueries, int kBeside>
  QUIVER_KV_INLINE static void add(const std::uint32_t* words, std::size_t unit_words,
                                   const std::int16_t* codes,
                                   Ints (&sums)[kSums][kQueries][kBeside][kParts]) {
    Ints read[kBeside];
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
      read[b] = kv::load_ints(words + static_cast<std::size_t>(b) * unit_words);
    }
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 2
      for (int plane = 0; plane < kSums; ++plane) {
        const Ints bytes = kv::all_pairs(codes + q * static_cast<int>(kPiece) + 2 * plane);
#pragma GCC unroll 8
        for (int b = 0; b < kBeside; ++b) {
          sums[plane][q][b][0] = _mm512_dpbusd_epi32(sums[plane][q][b][0], read[b], bytes);
          kv::keep(sums[plane][q][b][0]);
        }
      }
    }
  }

  template <int kQueries, int kBeside>
  QUIVER_KV_INLINE static Ints total(const Ints (&sums)[kSums][kQueries][kBeside][kParts], int q,
                                     int b, int p) {
    return _mm512_add_epi32(sums[0][q][b][p], _mm512_slli_epi32(sums[1][q][b][p], 8));
  }
};
#endif

}  // namespace
}  // namespace quiver::kv_affine
