// Pages of float32 for strategies of tests, which change what is written.
#pragma once

#include "tests/support/models.hpp"

namespace quiver::test {

/// Stores and reads as float32 does.
class FloatPages : public KvStrategy {
 public:
  std::size_t page_bytes(const KvShape& shape) const override { return full_->page_bytes(shape); }
  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    full_->write(shape, page, slot, keys, values);
  }
  void scores(const KvShape& shape, const Slots& slots, const float* queries, int query_count,
              float* scores) const override {
    full_->scores(shape, slots, queries, query_count, scores);
  }
  void accumulate(const KvShape& shape, const Slots& slots, const float* weights, int query_count,
                  float* output, const std::byte* next) const override {
    full_->accumulate(shape, slots, weights, query_count, output, next);
  }

 private:
  std::shared_ptr<const KvStrategy> full_ = float_kv();
};

}  // namespace quiver::test
