// What the Llama family knows about its GGUF files: names, permutations, metadata.
#include "gguf.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <quiver/error.hpp>
#include <string>
#include <utility>
#include <vector>

namespace quiver::llama {
namespace {

using Kind = TensorRuleKind;

// Files of the architecture "llama" hold the rows of q and k interleaved; the others start behind
// the first two rules, so that the plain names apply.
constexpr std::size_t kInterleavedRules = 2;
constexpr TensorRule kRules[] = {
    {Kind::rename_deinterleave_heads, "blk.*.attn_q.*", "model.layers.*.self_attn.q_proj.*",
     "num_attention_heads", nullptr},
    {Kind::rename_deinterleave_heads, "blk.*.attn_k.*", "model.layers.*.self_attn.k_proj.*",
     "num_key_value_heads", nullptr},
    {Kind::rename, "blk.*.attn_q.*", "model.layers.*.self_attn.q_proj.*", nullptr, nullptr},
    {Kind::rename, "blk.*.attn_k.*", "model.layers.*.self_attn.k_proj.*", nullptr, nullptr},
    {Kind::rename, "blk.*.attn_v.*", "model.layers.*.self_attn.v_proj.*", nullptr, nullptr},
    {Kind::rename, "blk.*.attn_output.*", "model.layers.*.self_attn.o_proj.*", nullptr, nullptr},
    {Kind::rename, "blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", nullptr,
     nullptr},
    {Kind::rename, "blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", nullptr,
     nullptr},
    {Kind::rename, "blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", nullptr,
     nullptr},
    {Kind::rename, "blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight",
     nullptr, nullptr},
    {Kind::rename, "blk.*.ffn_gate.*", "model.layers.*.mlp.gate_proj.*", nullptr, nullptr},
    {Kind::rename, "blk.*.ffn_up.*", "model.layers.*.mlp.up_proj.*", nullptr, nullptr},
    {Kind::rename, "blk.*.ffn_down.*", "model.layers.*.mlp.down_proj.*", nullptr, nullptr},
    {Kind::rename, "token_embd.weight", "model.embed_tokens.weight", nullptr, nullptr},
    {Kind::rename, "output_norm.weight", "model.norm.weight", nullptr, nullptr},
    {Kind::rename, "output.weight", "lm_head.weight", nullptr, nullptr},
    {Kind::drop, "rope_freqs.weight", nullptr, nullptr, nullptr},
};

constexpr GgufKey kKeys[] = {
    {"{arch}.embedding_length", "hidden_size", true},
    {"{arch}.block_count", "num_hidden_layers", true},
    {"{arch}.feed_forward_length", "intermediate_size", true},
    {"{arch}.attention.head_count", "num_attention_heads", true},
    {"{arch}.attention.head_count_kv", "num_key_value_heads", false},
    {"{arch}.attention.key_length", "head_dim", false},
    {"{arch}.attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    {"{arch}.attention.sliding_window", "sliding_window", false},
    {"{arch}.context_length", "max_position_embeddings", true},
    {"{arch}.rope.freq_base", "rope_theta", false},
};

constexpr GgufTokenizerKind kTokenizerKinds[] = {
    {"gpt2", GgufTokenizerAlgorithm::byte_level_bpe},
    {"llama", GgufTokenizerAlgorithm::sentencepiece_bpe},
};

constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr GgufPretokenizer digits_then_built_in(const char* name) {
  return {name, false, true, {}, true, false, false};
}
constexpr GgufPretokenizer llama3(const char* name) {
  return {name, false, false, {kLlama3Pattern}, false, true, true};
}

constexpr GgufPretokenizer kPretokenizers[] = {
    digits_then_built_in("smollm"),
    digits_then_built_in("starcoder"),
    digits_then_built_in("refact"),
    llama3("llama-bpe"),
    llama3("llama3"),
    llama3("llama-v3"),
    llama3("falcon3"),
    {"tekken", false, false, {kTekkenPattern}, false, true, true},
    {"qwen2", true, false, {kQwen2Pattern}, false, false, false},
    // The same splits, without normalizing.
    {"deepseek-r1-qwen", false, false, {kQwen2Pattern}, false, false, false},
    {"deepseek-coder",
     false,
     false,
     {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
      R"([\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+)", R"(\p{N})"},
     false,
     false,
     false},
    {"gpt-2", false, false, {}, true, false, false},
    // What files written without knowledge of the tokenizer say.
    {"default",
     false,
     false,
     {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", R"([0-9][0-9][0-9])"},
     false,
     false,
     false},
};

double number(const GgufSource& source, const std::string& key, double fallback) {
  double value = fallback;
  return source.read_number(std::string(source.architecture()) + key, value) ? value : fallback;
}

/// Files with Llama 3.1 scaling hold the divisors of all frequencies instead of the four parameters
/// that made them. These are found again: the factor is the largest divisor, the other three are
/// what every published model uses; a file that they do not reproduce is refused.
void complete_llama3(const GgufSource& source, ConfigWriter& config) {
  const std::int64_t count = source.tensor_elements("rope_freqs.weight");
  if (count <= 0 || count > 65536) return;
  std::vector<float> divisors(static_cast<std::size_t>(count));
  source.read_tensor("rope_freqs.weight", divisors);
  const double factor = *std::ranges::max_element(divisors);
  if (factor == 1) return;
  constexpr double kContext = 8192;
  constexpr double kLow = 1;
  constexpr double kHigh = 4;
  const double theta = number(source, ".rope.freq_base", 10000);
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    const double exponent = static_cast<double>(i) / static_cast<double>(divisors.size());
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, exponent);
    double divisor = 1;
    if (wavelength > kContext / kLow) {
      divisor = factor;
    } else if (wavelength >= kContext / kHigh) {
      const double smooth = (kContext / wavelength - kLow) / (kHigh - kLow);
      divisor = 1 / ((1 - smooth) / factor + smooth);
    }
    if (std::abs(divisors[i] - divisor) > 1e-3 * divisor) {
      throw Error(ErrorCode::bad_input, "the file's rotary frequencies follow no known scaling",
                  "rope_freqs.weight", "use the original checkpoint of this model");
    }
  }
  config.text("rope_scaling.rope_type", "llama3");
  config.number("rope_scaling.factor", factor);
  config.number("rope_scaling.low_freq_factor", kLow);
  config.number("rope_scaling.high_freq_factor", kHigh);
  config.integer("rope_scaling.original_max_position_embeddings",
                 static_cast<std::int64_t>(kContext));
}

/// Heads are rotated whole here; the de-interleaving rules assume it too.
void check_rotated_dimensions(const GgufSource& source) {
  const double heads = number(source, ".attention.head_count", 0);
  if (heads <= 0) return;
  const double width = number(source, ".embedding_length", 0) / heads;
  const double head_dim = number(source, ".attention.key_length", width);
  const double rotated = number(source, ".rope.dimension_count", head_dim);
  if (rotated == head_dim) return;
  throw Error(ErrorCode::bad_input, "heads are rotated in part only, which this family does not do",
              std::string(source.architecture()) + ".rope.dimension_count",
              "use the original checkpoint of this model");
}

void complete_scaling(const GgufSource& source, ConfigWriter& config) {
  std::string_view type;
  const std::string at = std::string(source.architecture()) + ".rope.scaling.";
  if (!source.read_text(at + "type", type) || type == "none") return;
  if (type != "linear" && type != "yarn") {
    throw Error(ErrorCode::bad_input, "unknown rotary scaling '" + std::string(type) + "'",
                at + "type", "known are none, linear and yarn");
  }
  config.text("rope_scaling.rope_type", type);
  config.number("rope_scaling.factor", number(source, ".rope.scaling.factor", 1));
  if (type == "linear") return;
  const double context = number(source, ".rope.scaling.original_context_length", 0);
  if (context > 0) {
    config.integer("rope_scaling.original_max_position_embeddings", std::llround(context));
  }
  constexpr std::pair<const char*, const char*> kYarnKeys[] = {
      {".rope.scaling.yarn_attn_factor", "rope_scaling.attention_factor"},
      {".rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast"},
      {".rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow"},
  };
  for (const auto& [key, path] : kYarnKeys) {
    const double value = number(source, key, 0);
    if (value > 0) config.number(path, value);
  }
}

}  // namespace

std::string_view LlamaGguf::model_type(std::string_view gguf_architecture) const {
  return gguf_architecture;  // the same words: llama, qwen2, qwen3
}

std::span<const TensorRule> LlamaGguf::tensor_rules(std::string_view gguf_architecture) const {
  const std::span<const TensorRule> rules = kRules;
  return gguf_architecture == "llama" ? rules : rules.subspan(kInterleavedRules);
}

std::span<const GgufKey> LlamaGguf::keys(std::string_view) const {
  return kKeys;
}

std::span<const GgufTokenizerKind> LlamaGguf::tokenizer_kinds() const {
  return kTokenizerKinds;
}

std::span<const GgufPretokenizer> LlamaGguf::pretokenizers() const {
  return kPretokenizers;
}

void LlamaGguf::complete(const GgufSource& source, ConfigWriter& config) const {
  config.text("hidden_act", "silu");
  config.flag("tie_word_embeddings", !source.has_tensor("output.weight"));
  config.flag("attention_bias", source.has_tensor("blk.0.attn_q.bias"));
  config.flag("mlp_bias", source.has_tensor("blk.0.ffn_gate.bias"));
  double kv_heads = 0;
  const std::string heads = std::string(source.architecture()) + ".attention.head_count";
  if (!source.read_number(heads + "_kv", kv_heads) && source.read_number(heads, kv_heads)) {
    config.integer("num_key_value_heads", std::llround(kv_heads));
  }
  if (source.architecture() != "llama" && number(source, ".attention.sliding_window", 0) > 0) {
    config.flag("use_sliding_window", true);
  }
  check_rotated_dimensions(source);
  complete_scaling(source, config);
  complete_llama3(source, config);
}

}  // namespace quiver::llama
