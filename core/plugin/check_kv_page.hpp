// A page of keys and values under test, between forbidden pages.
#pragma once

#include "core/plugin/guarded_buffer.hpp"

#include <quiver/kv_strategy.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// A page of one strategy, and rows of noise to write into it. Every call hands the strategy
/// buffers between guard pages and fails the check where it writes beside one.
class KvPage {
 public:
  /// The strategy outlives the page.
  KvPage(const KvStrategy& strategy, const std::string& label, const KvShape& shape,
         GuardSide side);

  const KvShape& shape() const { return shape_; }

  /// Options and shape, for messages.
  const std::string& label() const { return label_; }

  /// The rows [kv_heads, head_dim] that write_all() writes for a token.
  std::span<const float> keys(int token) const { return row(keys_, token); }
  std::span<const float> values(int token) const { return row(values_, token); }

  std::span<std::byte> bytes() { return page_.span(); }
  void make_read_only() { page_.make_read_only(); }

  void write(int slot, std::span<const float> keys, std::span<const float> values);

  /// Writes keys() and values() of every token into its slot.
  void write_all();

  /// Scores [count, kTokens] of queries; slots outside [first, last) keep the value -1.
  std::vector<float> scores(int head, int first, int last, std::span<const float> queries,
                            int count, GuardSide side = GuardSide::after) const;

  /// Weighted sums [count, head_dim] added to `start`, turned back.
  std::vector<float> sums(int head, int first, int last, std::span<const float> weights, int count,
                          float start = 0.0F, GuardSide side = GuardSide::after) const;

  /// Both over the slots of this page and then those of another, [count, 2 * kTokens] of them, in
  /// one call.
  std::vector<float> scores_with(const KvPage& other, int head, int first, int last,
                                 std::span<const float> queries, int count) const;
  std::vector<float> sums_with(const KvPage& other, int head, int first, int last,
                               std::span<const float> weights, int count) const;

  /// sums_with() by a call for each page.
  std::vector<float> sums_one_by_one(const KvPage& other, int head, int first, int last,
                                     std::span<const float> weights, int count) const;

  /// Outputs [count, head_dim] that are `start` everywhere, turned back.
  std::vector<float> turned(int count, float start) const;

 private:
  std::span<const float> row(const std::vector<float>& rows, int token) const;
  std::vector<float> scores_of(const KvStrategy::Slots& slots, std::span<const float> queries,
                               int count, GuardSide side) const;
  std::vector<float> sums_of(const KvStrategy::Slots& slots, std::span<const float> weights,
                             int count, float start, GuardSide side) const;

  const KvStrategy& strategy_;
  std::string label_;
  KvShape shape_;
  std::size_t row_size_;
  GuardedBuffer<std::byte> page_;
  std::vector<float> keys_;
  std::vector<float> values_;
};

}  // namespace quiver
