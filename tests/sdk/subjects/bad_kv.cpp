// KV strategies that each break one rule, and a good one.
#include <quiver/kv_strategy.hpp>
#include <quiver/plugin.hpp>

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

  void scores(const KvShape& shape, const std::byte* page, int kv_head, int first, int last,
              const float* queries, int query_count, float* scores) const override {
    const float* keys = half(shape, page, 0, kv_head);
    if (defect_ == "scores-all") first = 0, last = kTokens;
    for (int q = 0; q < query_count; ++q) {
      for (int slot = first; slot < last; ++slot) {
        float sum = defect_ == "counts-queries" ? static_cast<float>(query_count) * 1e-3F : 0;
        for (int d = 0; d < shape.head_dim; ++d) {
          sum += queries[q * shape.head_dim + d] *
                 keys[static_cast<std::size_t>(slot) * row(shape) + static_cast<std::size_t>(d)];
        }
        if (defect_ == "noise") sum = static_cast<float>(q + slot);
        if (defect_ == "by-address")
          sum += static_cast<float>(reinterpret_cast<std::uintptr_t>(page) % 8191);
        if (defect_ == "by-thread") {
          sum += 1e-3F *
                 static_cast<float>(std::hash<std::thread::id>()(std::this_thread::get_id()) % 997);
        }
        scores[q * kTokens + slot] = sum;
      }
    }
  }

  void accumulate(const KvShape& shape, const std::byte* page, int kv_head, int first, int last,
                  const float* weights, int query_count, float* output,
                  const std::byte*) const override {
    const float* values = half(shape, page, 1, kv_head);
    if (defect_ == "overwrites") {
      std::memset(output, 0,
                  sizeof(float) * static_cast<std::size_t>(query_count * shape.head_dim));
    }
    for (int q = 0; q < query_count; ++q) {
      for (int slot = first; slot < last; ++slot) {
        for (int d = 0; d < shape.head_dim; ++d) {
          output[q * shape.head_dim + d] +=
              weights[q * kTokens + slot] *
              values[static_cast<std::size_t>(slot) * row(shape) + static_cast<std::size_t>(d)];
        }
      }
    }
  }

 private:
  static std::size_t row(const KvShape& shape) {
    return static_cast<std::size_t>(shape.kv_heads) * static_cast<std::size_t>(shape.head_dim);
  }
  static const float* half(const KvShape& shape, const std::byte* page, std::size_t which,
                           int head) {
    return reinterpret_cast<const float*>(page) + which * kTokens * row(shape) +
           static_cast<std::size_t>(head * shape.head_dim);
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
              BREAKER("scores-all"), BREAKER("counts-queries"), BREAKER("noise"),
              BREAKER("by-address"), BREAKER("by-thread"), BREAKER("overwrites"));

std::span<const quiver_offer> Factory::offers() {
  return quiver_descriptor_.offers;
}
