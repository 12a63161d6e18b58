// Products of packed codes with numbers rounded to 16 bits, summed in integers without error.
#pragma once

#include "kv-common/loops.hpp"
#include "layout.hpp"

namespace quiver::kv_affine {
namespace {

using kv::Ints;
using kv::kLanes;
using kv::kMostQueries;
using kv::kParts;
using kv::kUnit;
using kv::Vec;

/// Numbers of some queries as 16-bit ones, each with what its numbers are multiples of.
struct Rounded {
  alignas(64) std::int16_t codes[kMostQueries][kPiece];
  float step[kMostQueries];
};

/// Rounds `count` numbers, and fills the codes up with zeros to a multiple of 16. Returns the sum
/// of the numbers as rounded, in steps, to be added over lanes.
Ints round_numbers(const float* numbers, std::size_t count, Rounded& to, int index) {
  alignas(64) float last[kUnit] = {};
  const std::size_t whole = count / kUnit * kUnit;
  __builtin_memcpy(last, numbers + whole, (count - whole) * sizeof(float));
  const auto unit_at = [&](std::size_t i) { return i < whole ? numbers + i : last; };
  Vec most = kv::zeros();
  for (std::size_t i = 0; i < count; i += kUnit) {
    for (int p = 0; p < kParts; ++p) {
      most = kv::greater_magnitude(most, kv::load(unit_at(i) + p * kLanes));
    }
  }
  const float magnitude = kv::greatest(most);
  constexpr float kLargest = 32767;
  const Vec inverse = kv::all(magnitude > 1e-30F ? kLargest / magnitude : 0);
  Ints sums = kv::zero_ints();
  for (std::size_t i = 0; i < count; i += kUnit) {
    sums = kv::round_unit(unit_at(i), inverse, to.codes[index] + i, sums);
  }
  to.step[index] = magnitude / kLargest;
  return sums;
}

/// Words of sixteen neighbours side by side, keys of tokens or dimensions of values, row by row;
/// then those of the next sixteen, `unit_words` on.
struct Words {
  const std::uint32_t* first;
  std::size_t unit_words;
  std::size_t count;  ///< Rows.
};

/// Adds to each sum the products of one pair of a word's codes with the same pair of its query. The
/// word is read for each pair anew, since eight lanes leave no registers to hold it.
template <int kBits, int kPair, int kQueries, int kBeside>
QUIVER_KV_INLINE void add_pair(const std::uint32_t* words, std::size_t unit_words,
                               const std::int16_t* codes, Ints (&sums)[kQueries][kBeside][kParts]) {
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

/// Sums of the products of codes in words with those of queries.
template <int kBits, int kQueries, int kBeside>
QUIVER_KV_INLINE void sum_words(const Words& words, const Rounded& queries, kv::ReadAhead& ahead,
                                Ints (&sums)[kQueries][kBeside][kParts]) {
  constexpr int kPairs = 16 / kBits;
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) sums[q][b][p] = kv::zero_ints();
    }
  }
  kv::ReadAhead next = ahead;
  const std::int16_t* codes = queries.codes[0];
  const std::uint32_t* from = words.first;
#pragma GCC unroll 1
  for (std::size_t w = 0; w < words.count; ++w, codes += 2 * kPairs, from += kUnit) {
    next.take<kBeside * kUnit * sizeof(std::uint32_t)>();
    add_pair<kBits, 0>(from, words.unit_words, codes, sums);
    add_pair<kBits, 1>(from, words.unit_words, codes, sums);
    if constexpr (kPairs == 4) {
      add_pair<kBits, 2>(from, words.unit_words, codes, sums);
      add_pair<kBits, 3>(from, words.unit_words, codes, sums);
    }
  }
  ahead = next;
}

}  // namespace
}  // namespace quiver::kv_affine
