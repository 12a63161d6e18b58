// The Llama family's GGUF tables, against checkpoints written as GGUF files here.
#include <gmock/gmock.h>

#include <quiver/rope_frequencies.hpp>

#include "core/model/gguf_tokenizer.hpp"
#include "core/model/model_config.hpp"
#include "tests/model/imported_folder.hpp"
#include "tests/model/llama_gguf.hpp"
#include "tests/support/load_plugin.hpp"

namespace quiver::test {
namespace {

using quiver::DType;
using quiver::GgufType;
using quiver::ModelConfig;

quiver::ArchitectureOffer llama(std::string_view) {
  return {quiver::test::borrowed(quiver::test::load_plugin<quiver::Architecture>("arch-llama")),
          "llama", "arch-llama"};
}

/// Checkpoints of the reference folder, written as GGUF files.
class ImportLlama : public ImportFixture {
 protected:
  static std::filesystem::path checkpoint(const std::string& name) {
    return std::filesystem::path(QUIVER_SHARED_DIR) / "reference" / "llama" / name / "checkpoint";
  }

  static GgufWriter converted(const std::string& name, const std::string& architecture) {
    return llama_gguf(checkpoint(name), architecture);
  }

  void import_llama(const GgufWriter& writer) {
    std::filesystem::remove_all(out());
    writer.write(gguf());
    quiver::import_gguf(gguf(), out(), {}, llama);
  }

  /// All tensors of the checkpoint, and no others, with their types and bytes.
  void expect_same_tensors(const std::string& name) {
    const auto before = quiver::SafetensorsSet::open(checkpoint(name));
    const auto after = quiver::SafetensorsSet::open(out());
    EXPECT_EQ(after.tensors().size(), before.tensors().size());
    for (const quiver::TensorView* view : before.tensors()) {
      const quiver::TensorView& found = after.at(view->name);
      EXPECT_EQ(found.shape, view->shape) << view->name;
      EXPECT_EQ(found.dtype, view->dtype) << view->name;
      EXPECT_TRUE(std::ranges::equal(found.data, view->data)) << view->name;
    }
  }

  void expect_same_values(const std::string& name, const std::vector<const char*>& paths) {
    const ModelConfig before = ModelConfig::load(checkpoint(name));
    const ModelConfig after = ModelConfig::load(out());
    for (const char* path : paths) {
      EXPECT_EQ(after.number(path, -1), before.number(path, -1)) << path;
    }
    const int dims = before.integer_or(
        "head_dim", before.integer("hidden_size") / before.integer("num_attention_heads"));
    const auto found = quiver::rope_frequencies(after, "", dims);
    const auto wanted = quiver::rope_frequencies(before, "", dims);
    EXPECT_EQ(found.inverse, wanted.inverse);
    EXPECT_EQ(found.magnitude, wanted.magnitude);
  }

  const std::vector<const char*> shape_ = {
      "hidden_size",         "num_hidden_layers",   "intermediate_size",       "rms_norm_eps",
      "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "vocab_size"};
};

TEST_F(ImportLlama, ACheckpointComesBackAsItWas) {
  import_llama(converted("llama", "llama"));
  expect_same_tensors("llama");
  expect_same_values("llama", shape_);
  expect_same_values("llama", {"attention_bias", "mlp_bias", "tie_word_embeddings"});
  EXPECT_EQ(json("config.json")["model_type"], "llama");
  EXPECT_EQ(json("config.json")["hidden_act"], "silu");
}

TEST_F(ImportLlama, LaterFamiliesAreNotInterleaved) {
  for (const char* name : {"qwen2", "qwen3"}) {
    import_llama(converted(name, name));
    expect_same_tensors(name);
    expect_same_values(name, shape_);
    EXPECT_EQ(json("config.json")["model_type"], name);
  }
}

TEST_F(ImportLlama, LinearScalingComesBack) {
  import_llama(converted("linear_rope", "llama")
                   .text("llama.rope.scaling.type", "linear")
                   .f32("llama.rope.scaling.factor", 2));
  expect_same_values("linear_rope", shape_);
}

TEST_F(ImportLlama, YarnScalingComesBack) {
  import_llama(converted("yarn_rope", "llama")
                   .text("llama.rope.scaling.type", "yarn")
                   .f32("llama.rope.scaling.factor", 6)
                   .u32("llama.rope.scaling.original_context_length", 48)
                   .f32("llama.rope.scaling.yarn_attn_factor", 0.85F)
                   .f32("llama.rope.scaling.yarn_beta_fast", 4)
                   .f32("llama.rope.scaling.yarn_beta_slow", 1));
  expect_same_values("yarn_rope", shape_);
}

/// The divisors that converters store for Llama 3.1's scaling.
std::vector<float> divisors(int dims, double theta, double factor, double low, double high,
                            double context) {
  std::vector<float> values;
  for (int i = 0; i < dims / 2; ++i) {
    const double length = 2 * std::numbers::pi * std::pow(theta, 2.0 * i / dims);
    const double smooth = (context / length - low) / (high - low);
    values.push_back(static_cast<float>(length < context / high ? 1
                                        : length > context / low
                                            ? factor
                                            : 1 / ((1 - smooth) / factor + smooth)));
  }
  return values;
}

TEST_F(ImportLlama, StoredFrequenciesBecomeTheirParameters) {
  GgufWriter writer = converted("llama", "llama");
  writer.f32("llama.rope.freq_base", 500000);
  writer.tensor("rope_freqs.weight", {8}, divisors(16, 500000, 32, 1, 4, 8192));
  import_llama(writer);
  EXPECT_EQ(json("config.json")["rope_scaling"], nlohmann::json::parse(R"({
      "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 8192})"));
  writer.drop_tensor("rope_freqs.weight")
      .tensor("rope_freqs.weight", {8}, divisors(16, 500000, 32, 1, 3, 4096));
  expect_refused([&] { import_llama(writer); }, "follow no known scaling");
}

TEST_F(ImportLlama, WhatTheFamilyCannotRunIsRefused) {
  expect_refused(
      [&] {
        import_llama(converted("llama", "llama").text("llama.rope.scaling.type", "longrope"));
      },
      "unknown rotary scaling 'longrope'");
  expect_refused(
      [&] { import_llama(converted("llama", "llama").u32("llama.rope.dimension_count", 8)); },
      "rotated in part only");
  expect_refused(
      [&] {
        import_llama(converted("llama", "llama").tensor("blk.0.ffn_gate_inp.weight", {1}, {1}));
      },
      "tensor 'blk.0.ffn_gate_inp.weight' is unknown");
}

TEST_F(ImportLlama, EveryPretokenizerIsWellFormed) {
  const auto offer = llama("llama");
  const auto& family = *static_cast<const quiver::GgufImport*>(
      offer.architecture->extension(quiver::GgufImport::kInterfaceId));
  std::vector<std::string> names;
  for (const quiver::GgufPretokenizer& row : family.pretokenizers()) {
    names.emplace_back(row.name);
    const GgufImage image(
        wagon_keys().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", row.name));
    const auto json = quiver::rebuild_tokenizer(*image, family).tokenizer;
    EXPECT_NE(json["pre_tokenizer"].dump().find("ByteLevel"), std::string::npos) << row.name;
  }
  EXPECT_THAT(names, testing::IsSupersetOf({"smollm", "llama-bpe", "qwen2", "gpt-2", "tekken"}));
  const std::set<std::string> unique(names.begin(), names.end());
  EXPECT_EQ(unique.size(), names.size());
}

}  // namespace
}  // namespace quiver::test
