// Attention of some rows of one sequence over the pages of one key-value head.
#pragma once

#include <cstddef>
#include <quiver/kv_strategy.hpp>
#include <quiver/ops.hpp>
#include <quiver/visibility.hpp>

#include "core/cache/sequence.hpp"

namespace quiver {

/// Pages that are worked through as one piece: keys are split at multiples of it, counted from the
/// start of the sequence, so that a row's bits do not depend on who computes which piece.
inline constexpr int kSplitPages = 8;

/// Consecutive rows of a sequence that attend together to pages of one form.
struct AttentionTile {
  const KvStrategy* kv = nullptr;  ///< Wrote the pages.
  KvShape shape{};
  const Sequence* sequence = nullptr;
  KvCache cache;
  int kv_head = 0;
  int group = 1;     ///< Query heads of the key-value head.
  int position = 0;  ///< Of the first row.
  int rows = 0;
  int window = 0;  ///< Newest tokens that a row sees, itself included; 0 = all.
  int hidden = 0;  ///< First tokens that no row sees.
  float soft_cap = 0;
  Visibility visibility{};
  int end = 0;            ///< Of the tokens that the pass holds.
  bool is_fresh = false;  ///< Of the forms of pages.
  int first_page = 0;     ///< Pages [first_page, last_page) are attended to.
  int last_page = 0;

  int queries() const noexcept { return rows * group; }
  /// The first token that a row sees, and the one behind the last; never less than for an earlier
  /// row.
  int visible_begin(int row) const noexcept;
  int visible_end(int row) const noexcept;
  /// A page's bytes.
  const std::byte* page(int page) const;
  /// Chooses the pages from `begin` to `end_page` that hold keys which some row sees. Returns
  /// whether there are any.
  bool choose_pages(int begin, int end_page) noexcept;
  /// The splits that these pages lie in.
  int first_split() const noexcept { return first_page / kSplitPages; }
  int last_split() const noexcept { return (last_page - 1) / kSplitPages + 1; }
};

/// Where a softmax stands, per query: largest score, sum of weights, weighted values. States of
/// splits are joined.
/// Source: Milakov and Gimelshein, arXiv 1805.02867. The memory is the caller's.
struct SoftmaxState {
  float* tops = nullptr;    ///< [queries]
  float* totals = nullptr;  ///< [queries]
  float* sums = nullptr;    ///< [queries, head_dim]

  static std::size_t floats(int queries, int head_dim) noexcept {
    return static_cast<std::size_t>(queries) * (static_cast<std::size_t>(head_dim) + 2);
  }
  static SoftmaxState in(float* memory, int queries) noexcept;
  void clear(int queries, int head_dim) const noexcept;
  SoftmaxState of_query(int query, int head_dim) const noexcept;
};

/// Floats that attend_split() wants for scores. [any-thread]
std::size_t split_scores(const AttentionTile& tile) noexcept;

/// Attends over the tile's pages of one split, from a cleared state. `queries` [queries, head_dim]
/// are scaled and transformed; `scores` has split_scores() floats. [any-thread]
void attend_split(const AttentionTile& tile, int split, const float* queries, float* scores,
                  const SoftmaxState& state);

/// Joins the state of the next split into `into`. [any-thread]
void join_softmax(const SoftmaxState& into, const SoftmaxState& next, int queries, int head_dim);

}  // namespace quiver
