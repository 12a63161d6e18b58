// A family that exists in tests only, with tables of every kind.
#pragma once

#include <memory>
#include <numeric>
#include <quiver/architecture.hpp>
#include <quiver/gguf_import.hpp>
#include <string>

#include "core/model/import_gguf.hpp"
#include "tests/model/gguf_writer.hpp"

namespace quiver::test {

class WagonGguf : public quiver::GgufImport {
 public:
  std::string_view model_type(std::string_view) const override { return "wagon"; }
  std::span<const quiver::TensorRule> tensor_rules(std::string_view) const override {
    using Kind = quiver::TensorRuleKind;
    static constexpr quiver::TensorRule kRules[] = {
        {Kind::rename_deinterleave_heads, "blk.*.turn.*", "layers.*.turn.*", "heads", nullptr},
        {Kind::rename, "blk.*.wheel.weight", "layers.*.wheel.weight", nullptr, nullptr},
        {Kind::rename, "blk.*.norm.weight", "layers.*.norm.weight", nullptr, nullptr},
        {Kind::rename, "token_embd.weight", "embed.weight", nullptr, nullptr},
        {Kind::rename, "table", "positions", nullptr, nullptr},
        {Kind::rename, "second", "positions", nullptr, nullptr},
        {Kind::drop, "rust", nullptr, nullptr, nullptr},
    };
    return kRules;
  }
  std::span<const quiver::GgufKey> keys(std::string_view) const override {
    static constexpr quiver::GgufKey kKeys[] = {
        {"{arch}.heads", "heads", true},          {"{arch}.epsilon", "norm.epsilon", true},
        {"{arch}.theta", "theta", false},         {"{arch}.paint", "paint", false},
        {"{arch}.is_closed", "is_closed", false}, {"general.year", "year", false},
    };
    return kKeys;
  }
  std::span<const quiver::GgufTokenizerKind> tokenizer_kinds() const override {
    static constexpr quiver::GgufTokenizerKind kKinds[] = {
        {"bytes", quiver::GgufTokenizerAlgorithm::byte_level_bpe},
        {"pieces", quiver::GgufTokenizerAlgorithm::sentencepiece_bpe},
    };
    return kKinds;
  }
  std::span<const quiver::GgufPretokenizer> pretokenizers() const override {
    static constexpr quiver::GgufPretokenizer kRows[] = {
        {"plain", false, false, {}, true, false, false},
        {"all", true, true, {"a+", "b|c"}, false, true, true},
    };
    return kRows;
  }
  void complete(const quiver::GgufSource& source, quiver::ConfigWriter& config) const override {
    config.flag("has_table", source.has_tensor("table"));
  }
};

class WagonArchitecture : public quiver::Architecture {
 public:
  quiver::Model* create(std::string_view, const quiver::Config&, quiver::Weights&) const override {
    return nullptr;
  }
  std::span<const quiver::TensorRule> checkpoint_rules(std::string_view) const override {
    return {};
  }
  const void* extension(std::string_view id) const override {
    return can_import && id == quiver::GgufImport::kInterfaceId
               ? static_cast<const quiver::GgufImport*>(&gguf_)
               : nullptr;
  }
  bool can_import = true;

 private:
  WagonGguf gguf_;
};

inline quiver::GgufArchitectureSource wagon_source(bool can_import = true) {
  return [can_import](std::string_view) -> quiver::ArchitectureOffer {
    auto architecture = std::make_shared<WagonArchitecture>();
    architecture->can_import = can_import;
    return {architecture, "wagon", "arch-wagon"};
  };
}

/// Everything that a file of the family has to have, apart from tensors: six tokens, one merge.
inline GgufWriter wagon_keys() {
  GgufWriter writer;
  writer.text("general.architecture", "wagon")
      .u32("wagon.heads", 2)
      .f32("wagon.epsilon", 1e-5F)
      .u32("wagon.context_length", 512)
      .text("tokenizer.ggml.model", "bytes")
      .text("tokenizer.ggml.pre", "plain")
      .texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<end>", "<tool>", "[PAD5]"})
      .i32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 4, 4})
      .texts("tokenizer.ggml.merges", {"a b"})
      .u32("tokenizer.ggml.eos_token_id", 3);
  return writer;
}

/// 0, 1, 2, ... scaled: distinct values that float16 holds exactly below 2048.
inline std::vector<float> ramp(std::size_t count, float step = 1) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) * step;
  return values;
}

/// Bytes without a pattern that blocks could hide behind; the scales of blocks stay finite.
inline Bytes blocks(quiver::GgufType type, std::int64_t elements, std::uint32_t seed = 1) {
  const quiver::GgufTypeInfo& info = quiver::info_of(type);
  Bytes bytes(static_cast<std::size_t>(elements) / info.block_elements * info.block_bytes);
  std::uint32_t state = seed;
  for (std::byte& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24);
  }
  // The scale (and of Q4_1 the minimum) stands in front as float16: exponents of 1 to about 1/16.
  for (std::size_t at = 0; at < bytes.size(); at += info.block_bytes) {
    bytes[at + 1] = (bytes[at + 1] & std::byte{0x8F}) | std::byte{0x30};
    if (type == quiver::GgufType::q4_1) {
      bytes[at + 3] = (bytes[at + 3] & std::byte{0x8F}) | std::byte{0x30};
    }
  }
  return bytes;
}

}  // namespace quiver::test
