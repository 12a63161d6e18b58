// Queries as they are multiplied with keys: piece by piece, rounded to 16 bits.
#pragma once

#include "sum_words.hpp"

namespace quiver::kv_affine {
namespace {

/// Numbers of queries that are rounded before a page's codes are read.
constexpr std::size_t kRoundedPieces = 8;

/// One piece of some queries, rounded.
template <int kQueries>
struct RoundedPiece {
  Rounded numbers;
  float totals[kQueries];  ///< Sums of what the numbers were rounded to.
  std::size_t words;       ///< Of a key's codes that it is multiplied with.
  std::size_t group;
};

/// Some pieces of kQueries queries, as many as are rounded at a time.
template <int kQueries>
struct RoundedQueries {
  RoundedPiece<kQueries> pieces[kRoundedPieces];
  std::size_t count = 0;
  std::size_t end = 0;   ///< The first number behind them.
  std::size_t word = 0;  ///< Of keys, that the first piece is multiplied with.

  /// Whether they are all that queries have.
  bool is_whole(const Layout& layout) const {
    return count != 0 && word == 0 && end == layout.dims;
  }
};

/// Rounds the pieces that follow, from the first ones again behind the last.
template <int kBits, int kQueries>
void round_next(const Layout& layout, const float* queries, RoundedQueries<kQueries>& to,
                kv::PartAhead& ahead) {
  constexpr std::size_t kCodes = 32 / kBits;
  for (std::size_t i = 0; i < to.count; ++i) to.word += to.pieces[i].words;
  if (to.end == layout.dims) to.end = to.word = 0;
  for (to.count = 0; to.count < kRoundedPieces && to.end < layout.dims; ++to.count) {
    RoundedPiece<kQueries>& piece = to.pieces[to.count];
    piece.group = to.end / layout.group;
    const std::size_t left = (piece.group + 1) * layout.group - to.end;
    const std::size_t count = left < kPiece ? left : kPiece;
    piece.words = (count + kCodes - 1) / kCodes;
    round_numbers<kBits>(queries + to.end, layout.dims, count, piece.numbers, piece.totals, ahead);
    to.end += count;
  }
}

}  // namespace
}  // namespace quiver::kv_affine
