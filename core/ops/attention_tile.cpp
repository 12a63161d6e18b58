// Attention of some rows of one sequence over the pages of one key-value head.
#include "core/ops/attention_tile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kPage = KvStrategy::kTokens;
constexpr float kNone = -std::numeric_limits<float>::infinity();

/// Slots of a page.
struct Slots {
  int first;
  int last;
  bool is_empty() const { return first >= last; }
  bool operator==(const Slots&) const = default;
};

/// Slots of a page that a row sees.
Slots visible(const AttentionTile& tile, int row, int page) {
  const int end = tile.visible_end(row);
  const int begin = tile.visible_begin(row);
  return {std::max(begin - page * kPage, 0), std::min(end - page * kPage, kPage)};
}

/// Adds the total of a query's step, and scales down what it has where its top rose from `before`.
void add_total(const SoftmaxState& state, int query, std::size_t dim, float before, float total) {
  const float top = state.tops[query];
  if (before < top && before != kNone) {
    const float factor = std::exp(before - top);
    state.totals[query] *= factor;
    float* sums = state.sums + static_cast<std::size_t>(query) * dim;
    for (std::size_t i = 0; i < dim; ++i) sums[i] *= factor;
  }
  state.totals[query] += total;
}

/// One softmax step of `count` queries that see the same slots: turns their scores into weights,
/// zero where they see nothing.
void step(const AttentionTile& tile, const Slots& own, const Slots& all, float* scores,
          const SoftmaxState& state, int first, int count) {
  constexpr int kTogether = 16;
  const ElementKernels& elements = *kernels().elements;
  const int slots = own.last - own.first;
  const auto dim = static_cast<std::size_t>(tile.shape.head_dim);
  for (int done = 0; done < count; done += kTogether) {
    const int queries = std::min(kTogether, count - done);
    float* rows = scores + done * kPage;
    if (tile.soft_cap > 0) {
      for (int q = 0; q < queries; ++q) {
        float* row = rows + q * kPage + own.first;
        elements.soft_cap(row, static_cast<std::size_t>(slots), tile.soft_cap, row);
      }
    }
    float* tops = state.tops + first + done;
    float before[kTogether];
    float totals[kTogether];
    std::copy_n(tops, queries, before);
    elements.softmax_rows(rows + own.first, kPage, queries, slots, tops, totals);
    for (int q = 0; q < queries; ++q) {
      add_total(state, first + done + q, dim, before[q], totals[q]);
      std::fill(rows + q * kPage + all.first, rows + q * kPage + own.first, 0.0F);
      std::fill(rows + q * kPage + own.last, rows + q * kPage + all.last, 0.0F);
    }
  }
}

}  // namespace

int AttentionTile::visible_begin(int row) const noexcept {
  const int token = position + row;
  if (visibility.kind == VisibilityKind::alone) return token;
  return window > 0 ? std::max(hidden, token + 1 - window) : hidden;
}

int AttentionTile::visible_end(int row) const noexcept {
  const int token = position + row;
  switch (visibility.kind) {
    case VisibilityKind::causal:
    case VisibilityKind::alone: break;
    case VisibilityKind::canvas: return end;
    case VisibilityKind::block_causal: {
      const int block = visibility.block_length;
      return token / block >= end / block ? end : (token / block + 1) * block;
    }
  }
  return token + 1;
}

bool AttentionTile::choose_pages(int begin, int end_page) noexcept {
  first_page = std::max(begin, visible_begin(0) / kPage);
  last_page = std::min(end_page, (visible_end(rows - 1) - 1) / kPage + 1);
  return first_page < last_page;
}

SoftmaxState SoftmaxState::in(float* memory, int queries) noexcept {
  return {memory, memory + queries, memory + 2 * static_cast<std::size_t>(queries)};
}

void SoftmaxState::clear(int queries, int head_dim) const noexcept {
  std::fill_n(tops, queries, kNone);
  std::fill_n(totals, queries, 0.0F);
  std::fill_n(sums, static_cast<std::size_t>(queries) * static_cast<std::size_t>(head_dim), 0.0F);
}

void attend_split(const AttentionTile& tile, int split, const float* queries, float* scores,
                  const SoftmaxState& state) {
  const auto dim = static_cast<std::size_t>(tile.shape.head_dim);
  const LayerPages& pages = tile.sequence->pages(tile.cache);
  const auto bytes_of = [&](int page) {
    return tile.is_fresh ? pages.fresh_page(page) : pages.stored_page(page);
  };
  const int last_page = std::min((split + 1) * kSplitPages, tile.last_page);
  for (int page = std::max(split * kSplitPages, tile.first_page); page < last_page; ++page) {
    // Rows see a page from some row on, and with a window up to some row.
    int first_row = 0;
    while (first_row < tile.rows && visible(tile, first_row, page).is_empty()) ++first_row;
    int last_row = first_row;
    while (last_row < tile.rows && !visible(tile, last_row, page).is_empty()) ++last_row;
    if (first_row == last_row) continue;
    const Slots all{visible(tile, first_row, page).first, visible(tile, last_row - 1, page).last};
    const auto first_query = static_cast<std::size_t>(first_row * tile.group);
    const int count = (last_row - first_row) * tile.group;
    const std::byte* bytes = bytes_of(page);
    tile.kv->scores(tile.shape, bytes, tile.kv_head, all.first, all.last,
                    queries + first_query * dim, count, scores);
    for (int row = first_row, end_row = row; row < last_row; row = end_row) {
      const Slots own = visible(tile, row, page);
      while (end_row < last_row && visible(tile, end_row, page) == own) ++end_row;
      step(tile, own, all, scores + (row - first_row) * tile.group * kPage, state, row * tile.group,
           (end_row - row) * tile.group);
    }
    tile.kv->accumulate(tile.shape, bytes, tile.kv_head, all.first, all.last, scores, count,
                        state.sums + first_query * dim,
                        // A thread mostly goes on with the next split.
                        page + 1 < tile.last_page ? bytes_of(page + 1) : nullptr);
  }
}

SoftmaxState SoftmaxState::of_query(int query, int head_dim) const noexcept {
  return {tops + query, totals + query,
          sums + static_cast<std::size_t>(query) * static_cast<std::size_t>(head_dim)};
}

void join_softmax(const SoftmaxState& into, const SoftmaxState& next, int queries, int head_dim) {
  const ElementKernels& elements = *kernels().elements;
  for (int query = 0; query < queries; ++query) {
    if (next.tops[query] == kNone) continue;
    const float top = std::max(into.tops[query], next.tops[query]);
    const float keep = std::exp(into.tops[query] - top);
    const float add = std::exp(next.tops[query] - top);
    into.tops[query] = top;
    into.totals[query] = into.totals[query] * keep + next.totals[query] * add;
    elements.weighted_add(into.of_query(query, head_dim).sums, keep,
                          next.of_query(query, head_dim).sums, add,
                          static_cast<std::size_t>(head_dim));
  }
}

}  // namespace quiver
