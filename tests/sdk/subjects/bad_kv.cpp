// KV strategies that each break one rule, and a good one.
#include <quiver/kv_strategy.hpp>
#include <quiver/plugin.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

namespace {

using namespace quiver;

/// Rows of floats as they come: [2][kTokens][kv_heads][head_dim].
class Rows final : public KvStrategy {
 public:
  explicit Rows(std::string_view defect) : defect_(defect) {}

  std::size_t page_bytes(const KvShape& shape) const override {
    if (defect_ == "no-bytes") return 0;
    return 2 * kTokens * row(shape) * sizeof(float);
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    auto* floats = reinterpret_cast<float*>(page);
    const auto at = static_cast<std::size_t>(slot);
    std::memcpy(floats + at * row(shape), keys.data(), keys.size_bytes());
    std::memcpy(floats + (kTokens + at) * row(shape), values.data(), values.size_bytes());
    if (defect_ == "spills" && slot + 1 < kTokens) floats[(at + 1) * row(shape)] = 3;
    if (defect_ == "adds-up" && slot == 20) floats[at * row(shape)] += kept_++;
    if (defect_ == "write-overruns" && slot == kTokens - 1) {
      floats[2 * kTokens * row(shape)] = 1;
    }
  }

  void scores(const KvShape& shape, const Slots& slots, const float* queries, int query_count,
              float* scores) const override {
    int first = slots.first, last = slots.last;
    if (defect_ == "scores-all") first = 0, last = slots.stride();
    for (int q = 0; q < query_count; ++q) {
      for (int slot = first; slot < last; ++slot) {
        const float* key = row_of(shape, slots, slot, 0);
        float sum = defect_ == "counts-queries" ? static_cast<float>(query_count) * 1e-3F : 0;
        if (defect_ == "counts-pages") sum = static_cast<float>(slots.pages.size()) * 1e-3F;
        for (int d = 0; d < shape.head_dim; ++d) sum += queries[q * shape.head_dim + d] * key[d];
        if (defect_ == "noise") sum = static_cast<float>(q + slot);
        if (defect_ == "by-address")
          sum += static_cast<float>(reinterpret_cast<std::uintptr_t>(slots.pages[0]) % 8191);
        if (defect_ == "by-thread") {
          sum += 1e-3F *
                 static_cast<float>(std::hash<std::thread::id>()(std::this_thread::get_id()) % 997);
        }
        scores[q * slots.stride() + slot] = sum;
      }
    }
  }

  void accumulate(const KvShape& shape, const Slots& slots, const float* weights, int query_count,
                  float* output, const std::byte*) const override {
    if (defect_ == "overwrites") {
      std::memset(output, 0,
                  sizeof(float) * static_cast<std::size_t>(query_count * shape.head_dim));
    }
    for (int q = 0; q < query_count; ++q) {
      // Rounded by what is largest of all pages.
      float step = 0;
      for (int slot = slots.first; slot < slots.last && defect_ == "rounds-weights"; ++slot) {
        step = std::max(step, weights[q * slots.stride() + slot] / 32767);
      }
      for (int slot = slots.first; slot < slots.last; ++slot) {
        const float* value = row_of(shape, slots, slot, kTokens);
        float weight = weights[q * slots.stride() + slot];
        if (step > 0) weight = std::round(weight / step) * step;
        for (int d = 0; d < shape.head_dim; ++d)
          output[q * shape.head_dim + d] += weight * value[d];
      }
    }
  }

 private:
  static std::size_t row(const KvShape& shape) {
    return static_cast<std::size_t>(shape.kv_heads) * static_cast<std::size_t>(shape.head_dim);
  }
  /// Of keys from row 0 on, of values from row kTokens on.
  const float* row_of(const KvShape& shape, const Slots& slots, int slot, int first) const {
    const bool is_value = first != 0;
    const bool is_first = defect_ == "one-page" || (defect_ == "adds-first-page" && is_value);
    const int page = is_first ? slots.first / kTokens : slot / kTokens;
    return reinterpret_cast<const float*>(slots.pages[static_cast<std::size_t>(page)]) +
           static_cast<std::size_t>(first + slot % kTokens) * row(shape) +
           static_cast<std::size_t>(slots.kv_head * shape.head_dim);
  }

  std::string_view defect_;
  mutable float kept_ = 1;
};

class Factory final : public KvStrategyFactory {
 public:
  std::span<const OptionSpec> options(std::string_view) const override { return {}; }
  KvStrategy* create(std::string_view offer, const Options&) const override {
    for (const quiver_offer& known : offers()) {
      if (offer == known.name && !offer.empty()) return new Rows(known.name);
    }
    return nullptr;
  }

 private:
  static std::span<const quiver_offer> offers();
};

const void* get(std::string_view id) {
  static const Factory factory;
  return provide<KvStrategyFactory>(id, factory);
}

}  // namespace

#define BREAKER(name) QUIVER_OFFER_KV_STRATEGY(name, "Breaks a rule")
QUIVER_PLUGIN(get, "bad-kv", "1.0.0", "Apache-2.0", "Strategies that break rules", BREAKER("good"),
              BREAKER("no-bytes"), BREAKER("spills"), BREAKER("adds-up"), BREAKER("write-overruns"),
              BREAKER("scores-all"), BREAKER("counts-queries"), BREAKER("counts-pages"),
              BREAKER("one-page"), BREAKER("adds-first-page"), BREAKER("rounds-weights"),
              BREAKER("noise"), BREAKER("by-address"), BREAKER("by-thread"), BREAKER("overwrites"));

std::span<const quiver_offer> Factory::offers() {
  return quiver_descriptor_.offers;
}
