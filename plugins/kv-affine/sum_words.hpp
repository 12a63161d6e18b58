// Products of packed codes with numbers rounded to 16 bits, summed in integers without error.
#pragma once

#include "kv-common/read_ahead.hpp"
#include "word_dots.hpp"

namespace quiver::kv_affine {
namespace {

/// Numbers of some queries as WordDots takes them, each with what its numbers are multiples of.
struct Rounded {
  alignas(64) std::int16_t codes[kMostQueries][kPiece];
  float step[kMostQueries];
};

/// Rounds `count` numbers of each query, a multiple of 16 and `stride` apart, and adds up what they
/// were rounded to. Queries side by side: what is found over lanes has a long way to go for each.
template <int kBits, int kQueries>
QUIVER_KV_INLINE void round_units(const float* numbers, std::size_t stride, std::size_t count,
                                  Rounded& to, float (&totals)[kQueries], kv::PartAhead& ahead) {
  Vec most[kQueries];
  Vec inverse[kQueries];
  Ints sums[kQueries];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    most[q] = kv::zeros();
    sums[q] = kv::zero_ints();
  }
  for (std::size_t i = 0; i < count; i += kLanes) {
#pragma GCC unroll 8
    for (std::size_t q = 0; q < kQueries; ++q) {
      most[q] = kv::greater_magnitude(most[q], kv::load(numbers + q * stride + i));
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    const float magnitude = kv::greatest(most[q]);
    inverse[q] = kv::all(magnitude > 1e-30F ? kLargest / magnitude : 0);
    to.step[q] = magnitude / kLargest;
  }
  for (std::size_t i = 0; i < count; i += kUnit) {
    ahead.take<kQueries * kv::kLine>();
#pragma GCC unroll 8
    for (std::size_t q = 0; q < kQueries; ++q) {
      sums[q] = WordDots<kBits>::round_unit(numbers + q * stride + i, inverse[q], to.codes[q] + i,
                                            sums[q]);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    totals[q] = static_cast<float>(kv::total(sums[q])) * to.step[q];
  }
}

/// The same for any count up to kPiece: the codes are filled up with zeros to a multiple of 16.
template <int kBits, int kQueries>
void round_numbers(const float* numbers, std::size_t stride, std::size_t count, Rounded& to,
                   float (&totals)[kQueries], kv::PartAhead& ahead) {
  if (count % kUnit == 0) return round_units<kBits>(numbers, stride, count, to, totals, ahead);
  float padded[kQueries * kPiece];
  const std::size_t whole = (count + kUnit - 1) / kUnit * kUnit;
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(padded + q * kPiece, numbers + q * stride, count * sizeof(float));
    __builtin_memset(padded + q * kPiece + count, 0, (whole - count) * sizeof(float));
  }
  round_units<kBits>(padded, kPiece, whole, to, totals, ahead);
}

/// Words of sixteen neighbours side by side, keys of tokens or dimensions of values, row by row;
/// then those of the next sixteen, `unit_words` on.
struct Words {
  const std::uint32_t* first;
  std::size_t unit_words;
  std::size_t count;  ///< Rows.
};

/// How many lines sum_words() asks for: as many as it reads, or three for four, and none at the
/// end, where others are asked for between its loops.
enum class Asks { all, most };

/// Sums of the products of codes in words with those of queries.
template <int kBits, Asks kAsks, int kQueries, int kBeside>
QUIVER_KV_INLINE void sum_words(const Words& words, const Rounded& queries, kv::PartAhead& ahead,
                                Ints (&sums)[kQueries][kBeside][kParts]) {
  using Dots = WordDots<kBits>;
  constexpr int kTogether = Dots::beside(kQueries, kBeside);
  kv::PartAhead next = ahead;
#pragma GCC unroll 8
  for (int first = 0; first < kBeside; first += kTogether) {
    Ints some[Dots::kSums][kQueries][kTogether][kParts];
#pragma GCC unroll 8
    for (auto& queries_sums : some) {
#pragma GCC unroll 8
      for (auto& units_sums : queries_sums) {
#pragma GCC unroll 8
        for (auto& unit_sums : units_sums) {
#pragma GCC unroll 8
          for (Ints& sum : unit_sums) sum = kv::zero_ints();
        }
      }
    }
    const std::int16_t* codes = queries.codes[0];
    const std::uint32_t* from = words.first + static_cast<std::size_t>(first) * words.unit_words;
#pragma GCC unroll 1
    for (std::size_t w = 0; w < words.count; ++w, codes += 32 / kBits, from += kUnit) {
      if (w * kTogether % 4 == 0) {
        if (kAsks == Asks::all) next.take<4 * kv::kLine>();
        if (kAsks == Asks::most && w + 2 < words.count) next.take<3 * kv::kLine>();
      }
      Dots::add(from, words.unit_words, codes, some);
    }
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
      for (int b = 0; b < kTogether; ++b) {
#pragma GCC unroll 8
        for (int p = 0; p < kParts; ++p) sums[q][first + b][p] = Dots::total(some, q, b, p);
      }
    }
  }
  ahead = next;
}

}  // namespace
}  // namespace quiver::kv_affine
