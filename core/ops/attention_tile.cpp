// Attention of some rows of one sequence over the pages of one key-value head.
#include "core/ops/attention_tile.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kPage = KvStrategy::kTokens;
constexpr float kNone = -std::numeric_limits<float>::infinity();

// Strategies multiply up to eight queries in one pass over a page. A few passes' scores with a
// split are not larger than what they read.
constexpr int kPassQueries = 8;
constexpr int kMostQueries = 24;

/// Tokens that are seen of those of some pages.
struct Seen {
  int first;
  int last;
  bool is_empty() const { return first >= last; }
  bool operator==(const Seen&) const = default;
};

/// Pages [first, last) of a sequence.
struct PageRange {
  int first;
  int last;
  bool operator==(const PageRange&) const = default;
};

/// Rows that are attended with at once: as many as fill passes, where that are not too many, and at
/// least one.
int rows_together(const AttentionTile& tile) {
  const int filled = kPassQueries / std::gcd(kPassQueries, tile.group);
  return std::clamp(kMostQueries / tile.group, 1, std::min(filled, tile.rows));
}

/// What a row sees of some pages, counted from the first one's slot 0.
Seen seen(const AttentionTile& tile, int row, const PageRange& pages) {
  const int end = tile.visible_end(row);
  const int begin = tile.visible_begin(row);
  return {std::max(begin - pages.first * kPage, 0),
          std::min(end, pages.last * kPage) - pages.first * kPage};
}

/// Those of some pages that a row sees something of.
PageRange pages_seen(const AttentionTile& tile, int row, const PageRange& pages) {
  const Seen own = seen(tile, row, pages);
  if (own.is_empty()) return {0, 0};
  return {pages.first + own.first / kPage, pages.first + (own.last - 1) / kPage + 1};
}

/// The softmax of `count` queries that see the same tokens: turns scores, `stride` apart, into
/// weights, zero where other queries see something.
void weigh(const AttentionTile& tile, const Seen& own, const Seen& all, float* scores, int stride,
           const SoftmaxState& state, int first, int count) {
  const ElementKernels& elements = *kernels().elements;
  const int size = own.last - own.first;
  for (int q = 0; q < count && tile.soft_cap > 0; ++q) {
    float* row = scores + q * stride + own.first;
    elements.soft_cap(row, static_cast<std::size_t>(size), tile.soft_cap, row);
  }
  elements.softmax_rows(scores + own.first, stride, count, size, state.tops + first,
                        state.totals + first);
  for (int q = 0; q < count; ++q) {
    float* row = scores + q * stride;
    std::fill(row + all.first, row + own.first, 0.0F);
    std::fill(row + own.last, row + all.last, 0.0F);
  }
}

/// Rows [first, last), which see something of the same pages of one split; `next` is read after
/// them, or nullptr.
void attend_rows(const AttentionTile& tile, int first_row, int last_row, const PageRange& pages,
                 const std::byte* next, const float* queries, float* scores,
                 const SoftmaxState& state) {
  const Seen all{seen(tile, first_row, pages).first, seen(tile, last_row - 1, pages).last};
  std::array<const std::byte*, kSplitPages> bytes{};
  for (int page = pages.first; page < pages.last; ++page) {
    bytes[static_cast<std::size_t>(page - pages.first)] = tile.page(page);
  }
  const KvStrategy::Slots slots{
      std::span(bytes).first(static_cast<std::size_t>(pages.last - pages.first)), tile.kv_head,
      all.first, all.last};
  const auto dim = static_cast<std::size_t>(tile.shape.head_dim);
  const int first_query = first_row * tile.group;
  const int count = (last_row - first_row) * tile.group;
  const std::size_t offset = static_cast<std::size_t>(first_query) * dim;
  tile.kv->scores(tile.shape, slots, queries + offset, count, scores);
  for (int row = first_row, end_row = row; row < last_row; row = end_row) {
    const Seen own = seen(tile, row, pages);
    while (end_row < last_row && seen(tile, end_row, pages) == own) ++end_row;
    weigh(tile, own, all, scores + (row - first_row) * tile.group * slots.stride(), slots.stride(),
          state, row * tile.group, (end_row - row) * tile.group);
  }
  tile.kv->accumulate(tile.shape, slots, scores, count, state.sums + offset, next);
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

const std::byte* AttentionTile::page(int page) const {
  const LayerPages& pages = sequence->pages(cache);
  return is_fresh ? pages.fresh_page(page) : pages.stored_page(page);
}

std::size_t split_scores(const AttentionTile& tile) noexcept {
  return static_cast<std::size_t>(rows_together(tile) * tile.group * kSplitPages * kPage);
}

void attend_split(const AttentionTile& tile, int split, const float* queries, float* scores,
                  const SoftmaxState& state) {
  const PageRange pages{std::max(split * kSplitPages, tile.first_page),
                        std::min((split + 1) * kSplitPages, tile.last_page)};
  // A thread mostly goes on with the next split.
  const std::byte* next = pages.last < tile.last_page ? tile.page(pages.last) : nullptr;
  const int together = rows_together(tile);
  for (int row = 0, end = 0; row < tile.rows; row = end) {
    // Rows that see other pages are left to others: a weight of zero would let what is not finite
    // pass.
    const PageRange own = pages_seen(tile, row, pages);
    end = row + 1;
    while (end < tile.rows && end - row < together && pages_seen(tile, end, pages) == own) ++end;
    if (own.first == own.last) continue;
    attend_rows(tile, row, end, own, end == tile.rows ? next : nullptr, queries, scores, state);
  }
}

SoftmaxState SoftmaxState::of_query(int query, int head_dim) const noexcept {
  return {tops + query, totals + query,
          sums + static_cast<std::size_t>(query) * static_cast<std::size_t>(head_dim)};
}

void join_softmax(const SoftmaxState& into, const SoftmaxState& next, int queries, int head_dim) {
  const ElementKernels& elements = *kernels().elements;
  for (int query = 0; query < queries; ++query) {
    // Of a state that saw something, this is at least 1, or not a number.
    if (next.totals[query] == 0) continue;
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
