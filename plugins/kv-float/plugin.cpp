// Describes the plugin; checks shapes and hands pages to the loops.
#include <quiver/error.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/plugin.hpp>

#include "pages.hpp"

#include <limits>
#include <string>

namespace {

using quiver::Error;
using quiver::ErrorCode;
using quiver::KvShape;
using quiver::KvStrategy;
using quiver::kv_float::Element;

class FloatPages final : public KvStrategy {
 public:
  explicit FloatPages(Element element) : element_(element) {}

  std::size_t page_bytes(const KvShape& shape) const override {
    constexpr std::size_t kPerNumber = 2 * KvStrategy::kTokens;  // A key and a value a token.
    const std::size_t token_bytes = kPerNumber * quiver::kv_float::element_bytes(element_);
    if (shape.kv_heads <= 0 || shape.head_dim <= 0) {
      throw Error(ErrorCode::bad_input, "a cache needs at least one head and one dimension",
                  "kv strategy", "correct the model's config");
    }
    const auto heads = static_cast<std::size_t>(shape.kv_heads);
    const auto dims = static_cast<std::size_t>(shape.head_dim);
    if (heads * dims > std::numeric_limits<std::size_t>::max() / 2 / token_bytes) {
      throw Error(ErrorCode::bad_input, "a page of the cache exceeds any memory", "kv strategy",
                  "correct the heads and their dimension in the model's config");
    }
    return heads * dims * token_bytes;
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    const std::size_t size =
        static_cast<std::size_t>(shape.kv_heads) * static_cast<std::size_t>(shape.head_dim);
    if (slot < 0 || slot >= kTokens || keys.size() != size || values.size() != size) {
      throw Error(ErrorCode::internal, "a token does not fit its page", "kv strategy");
    }
    quiver::kv_float::write(element_, shape, page, slot, keys, values);
  }

  void scores(const KvShape& shape, const std::byte* page, int kv_head, int first, int last,
              const float* queries, int query_count, float* scores) const override {
    quiver::kv_float::scores(element_,
                             {page, shape, kv_head, first, last, queries, query_count, scores});
  }

  void accumulate(const KvShape& shape, const std::byte* page, int kv_head, int first, int last,
                  const float* weights, int query_count, float* output) const override {
    quiver::kv_float::accumulate(element_,
                                 {page, shape, kv_head, first, last, weights, query_count, output});
  }

 private:
  Element element_;
};

class FloatStrategies final : public quiver::KvStrategyFactory {
 public:
  std::span<const quiver::OptionSpec> options(std::string_view offer) const override {
    element_of(offer);
    return {};
  }
  KvStrategy* create(std::string_view offer, const quiver::Options&) const override {
    return new FloatPages(element_of(offer));
  }

 private:
  static Element element_of(std::string_view offer) {
    if (offer == "f32") return Element::f32;
    if (offer == "f16") return Element::f16;
    if (offer == "bf16") return Element::bf16;
    throw Error(ErrorCode::usage, "kv-float offers no strategy '" + std::string(offer) + "'", "",
                "it offers f32, f16 and bf16");
  }
};

const void* get(std::string_view id) {
  static const FloatStrategies strategies;
  return quiver::provide<quiver::KvStrategyFactory>(id, strategies);
}

}  // namespace

QUIVER_PLUGIN(get, "kv-float", "1.0.0", "Apache-2.0", "Keys and values as floating point numbers",
              QUIVER_OFFER_KV_STRATEGY("f32", "Keys and values as float32, without loss"),
              QUIVER_OFFER_KV_STRATEGY("f16", "Keys and values as float16, half the memory"),
              QUIVER_OFFER_KV_STRATEGY("bf16", "Keys and values as bfloat16, half the memory"));
