// Describes the plugin; checks options and shapes and hands pages to the loops.
#include <quiver/error.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/plugin.hpp>

#include "kernels.hpp"
#include "kv-common/isa.hpp"
#include "kv-common/pages.hpp"
#include "rotation.hpp"

#include <string>

namespace {

using quiver::Error;
using quiver::ErrorCode;
using quiver::KvShape;
using quiver::KvStrategy;
using quiver::OptionKind;
using quiver::kv::Isa;
using quiver::kv_turboquant::Format;
using quiver::kv_turboquant::Kernels;
using quiver::kv_turboquant::Rotation;
using quiver::kv_turboquant::RotationKind;

const Kernels& chosen_kernels() {
#if defined(__x86_64__)
  const Isa isa = quiver::kv::chosen_isa();
  if (isa >= Isa::avx512) return quiver::kv_turboquant::avx512_kernels;
  if (isa >= Isa::avx2) return quiver::kv_turboquant::avx2_kernels;
#endif
  return quiver::kv_turboquant::generic_kernels;
}

class TurnedPages final : public KvStrategy {
 public:
  TurnedPages(const Format& format, RotationKind kind)
      : format_(format), kernels_(chosen_kernels()), rotations_(kind) {}

  std::size_t page_bytes(const KvShape& shape) const override {
    quiver::kv::check_shape(shape);
    check_size(static_cast<std::size_t>(shape.head_dim));
    return quiver::kv::page_bytes(shape,
                                  quiver::kv_turboquant::layout_of(format_, shape).head_bytes());
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    quiver::kv::check_token(shape, slot, keys.size(), values.size());
    const Rotation& rotation = rotations_.of(shape.head_dim);
    kernels_.write(format_, shape, rotation.keys(), rotation.values(), page, slot, keys.data(),
                   values.data());
  }

  void scores(const KvShape& shape, const Slots& slots, const float* queries, int query_count,
              float* scores) const override {
    kernels_.scores(format_, {quiver::kv::slots_of(shape, slots), queries, query_count, scores});
  }

  void accumulate(const KvShape& shape, const Slots& slots, const float* weights, int query_count,
                  float* output, const std::byte* next) const override {
    kernels_.accumulate(format_,
                        {quiver::kv::slots_of(shape, slots), weights, query_count, output, next});
  }

  void transform_queries(const KvShape& shape, float* queries, int count) const override {
    kernels_.turn(rotations_.of(shape.head_dim).keys(), queries, count);
  }

  void transform_outputs(const KvShape& shape, float* outputs, int count) const override {
    kernels_.turn_back(rotations_.of(shape.head_dim).values(), outputs, count);
  }

 private:
  void check_size(std::size_t dims) const {
    const std::size_t matrix = Rotation::matrix_size(rotations_.kind(), dims);
    if (dims <= quiver::kv_turboquant::kMostDims && matrix <= quiver::kv_turboquant::kMostOdd) {
      return;
    }
    throw Error(ErrorCode::bad_input,
                "heads of " + std::to_string(dims) + " numbers are too long to be turned",
                "kv strategy turboquant", "choose another strategy, or rotation=hadamard");
  }

  Format format_;
  const Kernels& kernels_;
  quiver::kv_turboquant::Rotations rotations_;
};

constexpr quiver::OptionSpec kOptions[] = {
    {"bits", "Bits of a stored number, 1 to 4", OptionKind::integer, 4, 1, 4, nullptr},
    {"key-bits", "Bits of keys where they differ; 0: as bits", OptionKind::integer, 0, 0, 4,
     nullptr},
    {"value-bits", "Bits of values where they differ; 0: as bits", OptionKind::integer, 0, 0, 4,
     nullptr},
    {"rotation", "How vectors are turned: hadamard or orthogonal", OptionKind::text, 0, 0, 0,
     "hadamard"},
};

class TurnedStrategies final : public quiver::KvStrategyFactory {
 public:
  std::span<const quiver::OptionSpec> options(std::string_view offer) const override {
    check_offer(offer);
    return kOptions;
  }

  KvStrategy* create(std::string_view offer, const quiver::Options& options) const override {
    check_offer(offer);
    const auto bits_of = [&](const char* name) {
      const int own = options.integer(name);
      return own == 0 ? options.integer("bits") : own;
    };
    return new TurnedPages({bits_of("key-bits"), bits_of("value-bits")},
                           kind_of(options.text("rotation")));
  }

 private:
  static void check_offer(std::string_view offer) {
    if (offer == "turboquant") return;
    throw Error(ErrorCode::usage, "kv-turboquant offers no strategy '" + std::string(offer) + "'",
                "", "it offers turboquant");
  }
  static RotationKind kind_of(std::string_view name) {
    if (name == "hadamard") return RotationKind::hadamard;
    if (name == "orthogonal") return RotationKind::orthogonal;
    throw Error(ErrorCode::usage, "there is no such rotation", "kv strategy turboquant",
                "choose hadamard or orthogonal");
  }
};

const void* get(std::string_view id) {
  static const TurnedStrategies strategies;
  return quiver::provide<quiver::KvStrategyFactory>(id, strategies);
}

}  // namespace

QUIVER_PLUGIN(get, "kv-turboquant", "1.0.0", "Apache-2.0",
              "Keys and values turned at random and rounded to 1 to 4 bits",
              QUIVER_OFFER_KV_STRATEGY("turboquant", "Keys and values in 1 to 4 bits, turned"));
