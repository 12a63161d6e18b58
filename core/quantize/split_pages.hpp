// Pages whose keys are stored by one strategy and whose values by another.
#pragma once

#include <memory>
#include <quiver/kv_strategy.hpp>
#include <utility>
#include <vector>

namespace quiver {

/// Both strategies write every token, and each is asked for its half: for measuring keys and values
/// apart whatever the strategies, not for saving memory. Results are theirs. [any-thread]
class SplitPages final : public KvStrategy {
 public:
  SplitPages(std::shared_ptr<const KvStrategy> keys, std::shared_ptr<const KvStrategy> values)
      : keys_(std::move(keys)), values_(std::move(values)) {}

  std::size_t page_bytes(const KvShape& shape) const override {
    return offset(shape) + values_->page_bytes(shape);
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    keys_->write(shape, page, slot, keys, values);
    values_->write(shape, page + offset(shape), slot, keys, values);
  }

  void scores(const KvShape& shape, const Slots& slots, const float* queries, int query_count,
              float* scores) const override {
    keys_->scores(shape, slots, queries, query_count, scores);
  }

  void accumulate(const KvShape& shape, const Slots& slots, const float* weights, int query_count,
                  float* output, const std::byte*) const override {
    std::vector<const std::byte*> pages(slots.pages.begin(), slots.pages.end());
    for (const std::byte*& page : pages) page += offset(shape);
    values_->accumulate(shape, {pages, slots.kv_head, slots.first, slots.last}, weights,
                        query_count, output, nullptr);
  }

  void transform_queries(const KvShape& shape, float* queries, int count) const override {
    keys_->transform_queries(shape, queries, count);
  }

  void transform_outputs(const KvShape& shape, float* outputs, int count) const override {
    values_->transform_outputs(shape, outputs, count);
  }

 private:
  /// Where the part of the values begins: as aligned as a page.
  std::size_t offset(const KvShape& shape) const {
    constexpr std::size_t kAlignment = 64;
    return (keys_->page_bytes(shape) + kAlignment - 1) / kAlignment * kAlignment;
  }

  std::shared_ptr<const KvStrategy> keys_;
  std::shared_ptr<const KvStrategy> values_;
};

}  // namespace quiver
