// Describes the plugin; checks shapes and hands pages to the loops.
#include <quiver/error.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/plugin.hpp>

#include "kernels.hpp"
#include "kv-common/isa.hpp"
#include "kv-common/pages.hpp"

#include <string>

namespace {

using quiver::Error;
using quiver::ErrorCode;
using quiver::KvShape;
using quiver::KvStrategy;
using quiver::kv::Isa;
using quiver::kv_float::Element;
using quiver::kv_float::Kernels;

const Kernels& chosen_kernels() {
#if defined(__x86_64__)
  const Isa isa = quiver::kv::chosen_isa();
  if (isa >= Isa::avx512) return quiver::kv_float::avx512_kernels;
  if (isa >= Isa::avx2) return quiver::kv_float::avx2_kernels;
#endif
  return quiver::kv_float::generic_kernels;
}

class FloatPages final : public KvStrategy {
 public:
  explicit FloatPages(Element element) : element_(element), kernels_(chosen_kernels()) {}

  std::size_t page_bytes(const KvShape& shape) const override {
    quiver::kv::check_shape(shape);
    return quiver::kv::page_bytes(shape, quiver::kv_float::key_bytes(element_, shape) +
                                             quiver::kv_float::value_bytes(element_, shape));
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    quiver::kv::check_token(shape, slot, keys.size(), values.size());
    kernels_.write(element_, shape, page, slot, keys.data(), values.data());
  }

  void scores(const KvShape& shape, const Slots& slots, const float* queries, int query_count,
              float* scores) const override {
    kernels_.scores(element_, {quiver::kv::slots_of(shape, slots), queries, query_count, scores});
  }

  void accumulate(const KvShape& shape, const Slots& slots, const float* weights, int query_count,
                  float* output, const std::byte* next) const override {
    kernels_.accumulate(element_,
                        {quiver::kv::slots_of(shape, slots), weights, query_count, output, next});
  }

 private:
  Element element_;
  const Kernels& kernels_;
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
