// Describes the plugin; checks options and shapes and hands pages to the loops.
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
using quiver::OptionKind;
using quiver::kv::Isa;
using quiver::kv_affine::Format;
using quiver::kv_affine::Kernels;

const Kernels& chosen_kernels() {
#if defined(__x86_64__)
  switch (quiver::kv::chosen_isa()) {
    case Isa::avx512vnni: return quiver::kv_affine::avx512vnni_kernels;
    case Isa::avx512: return quiver::kv_affine::avx512_kernels;
    case Isa::avx2: return quiver::kv_affine::avx2_kernels;
    case Isa::generic: break;
  }
#endif
  return quiver::kv_affine::generic_kernels;
}

class AffinePages final : public KvStrategy {
 public:
  explicit AffinePages(const Format& format) : format_(format), kernels_(chosen_kernels()) {}

  std::size_t page_bytes(const KvShape& shape) const override {
    quiver::kv::check_shape(shape);
    return quiver::kv::page_bytes(shape, quiver::kv_affine::layout_of(format_, shape).head_bytes());
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    quiver::kv::check_token(shape, slot, keys.size(), values.size());
    kernels_.write(format_, shape, page, slot, keys.data(), values.data());
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

 private:
  Format format_;
  const Kernels& kernels_;
};

constexpr quiver::OptionSpec kOptions[] = {
    {"bits", "Bits of a stored number, 4 or 8", OptionKind::integer, 8, 4, 8, nullptr},
    {"key-bits", "Bits of keys where they differ, 4 or 8; 0: as bits", OptionKind::integer, 0, 0, 8,
     nullptr},
    {"value-bits", "Bits of values where they differ, 4 or 8; 0: as bits", OptionKind::integer, 0,
     0, 8, nullptr},
    {"group", "Numbers that share a scale and a bias, 32 or 64", OptionKind::integer, 64, 32, 64,
     nullptr},
};

class AffineStrategies final : public quiver::KvStrategyFactory {
 public:
  std::span<const quiver::OptionSpec> options(std::string_view offer) const override {
    check_offer(offer);
    return kOptions;
  }

  KvStrategy* create(std::string_view offer, const quiver::Options& options) const override {
    check_offer(offer);
    Format format{};
    format.key_bits = bits_of(options, "key-bits");
    format.value_bits = bits_of(options, "value-bits");
    format.group = options.integer("group");
    if (format.group != 32 && format.group != 64) refuse("group", format.group, "32 or 64");
    return new AffinePages(format);
  }

 private:
  static void check_offer(std::string_view offer) {
    if (offer == "affine") return;
    throw Error(ErrorCode::usage, "kv-affine offers no strategy '" + std::string(offer) + "'", "",
                "it offers affine");
  }
  static void refuse(const std::string& name, int value, const std::string& choices) {
    throw Error(ErrorCode::usage, name + " of " + std::to_string(value) + " does not exist",
                "kv strategy affine", "choose " + choices);
  }
  static int bits_of(const quiver::Options& options, const char* name) {
    const int own = options.integer(name);
    const int bits = own == 0 ? options.integer("bits") : own;
    if (bits != 4 && bits != 8) refuse(own == 0 ? "bits" : name, bits, "4 or 8");
    return bits;
  }
};

const void* get(std::string_view id) {
  static const AffineStrategies strategies;
  return quiver::provide<quiver::KvStrategyFactory>(id, strategies);
}

}  // namespace

QUIVER_PLUGIN(get, "kv-affine", "1.0.0", "Apache-2.0",
              "Keys and values in 4 or 8 bits with a scale and a bias a group",
              QUIVER_OFFER_KV_STRATEGY("affine", "Keys and values in 4 or 8 bits by group"));
