// The Llama family: its shape, its parts and its forward pass.
#include "llama.hpp"

#include <cmath>
#include <quiver/rope_frequencies.hpp>
#include <string>

namespace quiver::llama {
namespace {

Error invalid(const std::string& what, const std::string& where) {
  return Error(ErrorCode::bad_input, what, "config.json, " + where, "correct the file");
}

Activation read_activation(const Config& config) {
  const std::string name = config.text("hidden_act", "silu");
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  throw invalid("unknown activation '" + name + "'", "hidden_act");
}

/// Which layers see only a window. The first model types apply `sliding_window` to all layers; the
/// later ones only where `use_sliding_window` says so, from `max_window_layers` on; and
/// `layer_types`, where present, outranks both.
std::vector<int> read_windows(const Config& config, const std::string& type, int layers) {
  std::vector<int> windows(static_cast<std::size_t>(layers), 0);
  const int window = config.integer_or("sliding_window", 0, 0);
  if (window == 0) return windows;
  const bool is_switched = type == "qwen2" || type == "qwen3";
  if (is_switched && !config.flag("use_sliding_window", false)) return windows;
  if (type == "llama") return windows;
  if (config.count("layer_types") >= 0) {
    if (config.count("layer_types") != layers)
      throw invalid("wrong number of entries", "layer_types");
    for (int i = 0; i < layers; ++i) {
      const std::string kind = config.text("layer_types." + std::to_string(i));
      if (kind == "sliding_attention") windows[static_cast<std::size_t>(i)] = window;
    }
    return windows;
  }
  const int first = is_switched ? config.integer_or("max_window_layers", layers, 0) : 0;
  for (int i = first; i < layers; ++i) windows[static_cast<std::size_t>(i)] = window;
  return windows;
}

}  // namespace

Shape read_shape(const Config& config) {
  const std::string type = config.text("model_type");
  Shape s;
  s.hidden = config.integer("hidden_size");
  s.layers = config.integer("num_hidden_layers");
  s.ffn = config.integer("intermediate_size");
  s.heads = config.integer("num_attention_heads");
  s.kv_heads = config.integer_or("num_key_value_heads", s.heads);
  s.head_dim = config.integer_or("head_dim", s.hidden / s.heads);
  s.vocabulary = config.integer("vocab_size");
  s.context_length = config.integer_or("max_position_embeddings", 0, 0);
  s.epsilon = static_cast<float>(config.number("rms_norm_eps", 1e-6));
  s.has_tied_head = config.flag("tie_word_embeddings", false);
  s.has_qkv_bias = config.flag("attention_bias", false) || type == "qwen2";
  s.has_o_bias = config.flag("attention_bias", false) && type != "qwen2";
  s.has_mlp_bias = config.flag("mlp_bias", false);
  s.has_qk_norm = type == "qwen3";
  s.activation = read_activation(config);
  if (s.heads % s.kv_heads != 0) {
    throw invalid("the number of heads is not a multiple of the key-value heads",
                  "num_key_value_heads");
  }
  if (s.head_dim % 2 != 0 || s.head_dim > 4096 || s.heads > 65536) {
    throw invalid("the size of a head is odd or absurd", "head_dim");
  }
  s.windows = read_windows(config, type, std::min(s.layers, 4096));
  return s;
}

Llama::Llama(const Config& config, Weights& weights) : shape_(read_shape(config)) {
  const Shape& s = shape_;
  const RopeFrequencies frequencies = rope_frequencies(config, "", s.head_dim);
  scale_ = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  weights.begin_block(-1);
  embedding_ = weights.embedding("model.embed_tokens", s.vocabulary, s.hidden);
  rope_ = weights.rope({.inverse_frequencies = frequencies.inverse,
                        .magnitude = frequencies.magnitude,
                        .layout = RopeLayout::half,
                        .position_of_pair = {}});
  const LinearSpec qkv{Role::attention, s.has_qkv_bias ? Bias::required : Bias::none};
  const LinearSpec output{Role::attention, s.has_o_bias ? Bias::required : Bias::none};
  const LinearSpec mlp{Role::mlp, s.has_mlp_bias ? Bias::required : Bias::none};
  for (int i = 0; i < s.layers; ++i) {
    weights.begin_block(i);
    const std::string at = "model.layers." + std::to_string(i) + ".";
    const int q_width = s.heads * s.head_dim;
    const int kv_width = s.kv_heads * s.head_dim;
    Layer l;
    l.input_norm = weights.norm(at + "input_layernorm", s.hidden, {s.epsilon, true});
    l.q = weights.linear(at + "self_attn.q_proj", q_width, s.hidden, qkv);
    l.k = weights.linear(at + "self_attn.k_proj", kv_width, s.hidden, qkv);
    l.v = weights.linear(at + "self_attn.v_proj", kv_width, s.hidden, qkv);
    l.o = weights.linear(at + "self_attn.o_proj", s.hidden, q_width, output);
    if (s.has_qk_norm) {
      l.q_norm = weights.norm(at + "self_attn.q_norm", s.head_dim, {s.epsilon, true});
      l.k_norm = weights.norm(at + "self_attn.k_norm", s.head_dim, {s.epsilon, true});
    }
    l.cache = weights.kv_cache({s.kv_heads, s.head_dim, s.windows[static_cast<std::size_t>(i)]});
    l.mlp_norm = weights.norm(at + "post_attention_layernorm", s.hidden, {s.epsilon, true});
    l.gate = weights.linear(at + "mlp.gate_proj", s.ffn, s.hidden, mlp);
    l.up = weights.linear(at + "mlp.up_proj", s.ffn, s.hidden, mlp);
    l.down = weights.linear(at + "mlp.down_proj", s.hidden, s.ffn, mlp);
    layers_.push_back(l);
  }
  weights.begin_block(-1);
  norm_ = weights.norm("model.norm", s.hidden, {s.epsilon, true});
  if (!s.has_tied_head) {
    head_ = weights.linear("lm_head", s.vocabulary, s.hidden, {Role::head, Bias::none});
  }
}

Stream Llama::embed(Ops& ops) const {
  return {.x = ops.embed(embedding_), .side = {}};
}

void Llama::block(int index, Ops& ops, Stream& stream) const {
  const Layer& l = layers_[static_cast<std::size_t>(index)];
  const int dim = shape_.head_dim;
  Tensor x = stream.x;
  const Tensor h = ops.rms_norm(x, l.input_norm);
  auto [q, k, v] = ops.linears(h, l.q, l.k, l.v);
  if (l.q_norm) {
    q = ops.rms_norm_heads(q, l.q_norm);
    k = ops.rms_norm_heads(k, l.k_norm);
  }
  q = ops.rope(q, rope_, dim);
  k = ops.rope(k, rope_, dim);
  x = ops.add(x, ops.linear(ops.attention(l.cache, q, k, v, {.scale = scale_}), l.o));
  const Tensor u = ops.gated(ops.rms_norm(x, l.mlp_norm), l.gate, l.up, shape_.activation);
  stream.x = ops.add(x, ops.linear(u, l.down));
}

Tensor Llama::finish(Ops& ops, const Stream& stream) const {
  return ops.rms_norm(stream.x, norm_);
}

Tensor Llama::logits(Ops& ops, Tensor hidden) const {
  return head_ ? ops.linear(hidden, head_) : ops.project(hidden, embedding_);
}

TextModelInfo Llama::info() const {
  return {shape_.hidden, shape_.vocabulary, shape_.context_length};
}

const void* Llama::extension(std::string_view interface_id) const {
  return interface_id == TextModel::kInterfaceId ? static_cast<const TextModel*>(this) : nullptr;
}

}  // namespace quiver::llama
