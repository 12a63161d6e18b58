// The dhara family: its shape, its parts, its forward pass, and what it should be measured with.
#include "dhara.hpp"

#include <algorithm>
#include <cmath>
#include <quiver/plugin.hpp>
#include <quiver/rope_frequencies.hpp>
#include <random>
#include <string>

namespace quiver::dhara {
namespace {

// Tokens of a block of the grid that the family is trained with.
constexpr int kBlockLength = 32;
constexpr double kRopeTheta = 8e6;

Error invalid(const std::string& what, const std::string& where) {
  return Error(ErrorCode::bad_input, what, "config.json, " + where, "correct the file");
}

CanonShape read_canon(const Config& config) {
  CanonShape canon;
  for (const char letter : config.text("canon_set", "ABCD")) {
    switch (letter) {
      case 'A': canon.has_a = true; break;
      case 'B': canon.has_b = true; break;
      case 'C': canon.has_c = true; break;
      case 'D': canon.has_d = true; break;
      default: throw invalid("not a set of the letters A, B, C and D", "canon_set");
    }
  }
  canon.kernel = config.integer_or("canon_kernel", 4);
  canon.has_bias = config.flag("canon_bias", false);
  canon.use.activation =
      config.flag("canon_activation", false) ? Activation::silu : Activation::none;
  canon.use.residual = config.flag("canon_residual", true);
  return canon;
}

}  // namespace

Shape read_shape(const Config& config) {
  Shape s;
  s.hidden = config.integer_or("hidden_size", 768);
  s.layers = config.integer_or("num_hidden_layers", 32);
  s.ffn = config.integer_or("intermediate_size", 2176);
  s.heads = config.integer_or("num_attention_heads", 12);
  s.kv_heads = config.integer_or("num_key_value_heads", 4);
  s.head_dim = config.integer_or("head_dim", s.hidden / s.heads);
  s.vocabulary = config.integer_or("vocab_size", 49155);
  s.context_length = config.integer_or("max_position_embeddings", 0, 0);
  s.epsilon = static_cast<float>(config.number("rms_norm_eps", 1e-6));
  if (config.flag("use_logit_softcap", true)) {
    s.soft_cap = static_cast<float>(config.number("logit_softcap", 30));
  }
  s.has_tied_head = config.flag("tie_word_embeddings", true);
  s.has_qk_norm = config.flag("use_qk_norm", true);
  s.mask_token = config.integer_or("mask_token_id", 49152, 0);
  s.canon = read_canon(config);
  if (s.heads % s.kv_heads != 0) {
    throw invalid("the number of heads is not a multiple of the key-value heads",
                  "num_key_value_heads");
  }
  if (s.head_dim < 2 || s.head_dim % 2 != 0 || s.head_dim > 4096 || s.heads > 65536) {
    throw invalid("the size of a head is odd or absurd", "head_dim");
  }
  if (s.mask_token >= s.vocabulary) {
    throw invalid("the mask token is outside the vocabulary", "mask_token_id");
  }
  return s;
}

Dhara::Dhara(const Config& config, Weights& weights) : shape_(read_shape(config)) {
  const Shape& s = shape_;
  // The checkpoint's own frequencies, which differ by layer and from any theta, win where it has
  // them.
  std::vector<float> frequencies = rope_frequencies(config, "", s.head_dim, kRopeTheta).inverse;
  const LinearSpec attention{Role::attention, Bias::none};
  const LinearSpec mlp{Role::mlp, Bias::none};
  const int q_width = s.heads * s.head_dim;
  const int kv_width = s.kv_heads * s.head_dim;
  const auto conv = [&](bool exists, const std::string& name, int channels) {
    if (!exists) return CausalConv{};
    return weights.causal_conv(name + ".conv", channels, s.canon.kernel, {s.canon.has_bias});
  };
  scale_ = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  weights.begin_block(-1);
  embedding_ = weights.embedding("model.embed_tokens", s.vocabulary, s.hidden);
  for (int i = 0; i < s.layers; ++i) {
    weights.begin_block(i);
    const std::string at = "model.layers." + std::to_string(i) + ".";
    Layer l;
    l.input_norm = weights.norm(at + "input_layernorm", s.hidden, {s.epsilon, true});
    l.canon_a = conv(s.canon.has_a, at + "canon_a", s.hidden);
    l.q = weights.linear(at + "self_attn.q_proj", q_width, s.hidden, attention);
    l.k = weights.linear(at + "self_attn.k_proj", kv_width, s.hidden, attention);
    l.v = weights.linear(at + "self_attn.v_proj", kv_width, s.hidden, attention);
    l.canon_b_q = conv(s.canon.has_b, at + "self_attn.canon_b_q", q_width);
    l.canon_b_k = conv(s.canon.has_b, at + "self_attn.canon_b_k", kv_width);
    l.canon_b_v = conv(s.canon.has_b, at + "self_attn.canon_b_v", kv_width);
    std::vector<float> own = frequencies;
    weights.read(at + "self_attn.rotary_emb.inv_freq", own);
    l.rope = weights.rope({.inverse_frequencies = own,
                           .magnitude = 1,
                           .layout = RopeLayout::half,
                           .position_of_pair = {}});
    if (s.has_qk_norm) {
      l.q_norm = weights.norm(at + "self_attn.q_norm", s.head_dim, {s.epsilon, true});
      l.k_norm = weights.norm(at + "self_attn.k_norm", s.head_dim, {s.epsilon, true});
    }
    l.cache = weights.kv_cache({s.kv_heads, s.head_dim, 0});
    l.o = weights.linear(at + "self_attn.o_proj", s.hidden, q_width, attention);
    l.mlp_norm = weights.norm(at + "post_attention_layernorm", s.hidden, {s.epsilon, true});
    l.canon_c = conv(s.canon.has_c, at + "canon_c", s.hidden);
    l.gate = weights.linear(at + "mlp.gate_proj", s.ffn, s.hidden, mlp);
    l.up = weights.linear(at + "mlp.up_proj", s.ffn, s.hidden, mlp);
    l.canon_d = conv(s.canon.has_d, at + "mlp.canon_d", s.ffn);
    l.down = weights.linear(at + "mlp.down_proj", s.hidden, s.ffn, mlp);
    layers_.push_back(l);
  }
  weights.begin_block(-1);
  norm_ = weights.norm("model.norm", s.hidden, {s.epsilon, true});
  if (!s.has_tied_head) {
    head_ = weights.linear("lm_head", s.vocabulary, s.hidden, {Role::head, Bias::none});
  }
}

Tensor Dhara::canon(Ops& ops, CausalConv conv, Tensor x) const {
  return conv ? ops.causal_conv(x, conv, shape_.canon.use) : x;
}

Stream Dhara::embed(Ops& ops) const {
  return {.x = ops.embed(embedding_), .side = {}};
}

void Dhara::block(int index, Ops& ops, Stream& stream) const {
  const Layer& l = layers_[static_cast<std::size_t>(index)];
  const int dim = shape_.head_dim;
  Tensor x = stream.x;
  Tensor h = canon(ops, l.canon_a, ops.rms_norm(x, l.input_norm));
  auto [q, k, v] = ops.linears(h, l.q, l.k, l.v);
  q = ops.rope(canon(ops, l.canon_b_q, q), l.rope, dim);
  k = ops.rope(canon(ops, l.canon_b_k, k), l.rope, dim);
  v = canon(ops, l.canon_b_v, v);
  if (l.q_norm) {
    q = ops.rms_norm_heads(q, l.q_norm);
    k = ops.rms_norm_heads(k, l.k_norm);
  }
  x = ops.add(x, ops.linear(ops.attention(l.cache, q, k, v, {.scale = scale_}), l.o));
  h = canon(ops, l.canon_c, ops.rms_norm(x, l.mlp_norm));
  h = canon(ops, l.canon_d, ops.gated(h, l.gate, l.up, Activation::silu));
  stream.x = ops.add(x, ops.linear(h, l.down));
}

Tensor Dhara::finish(Ops& ops, const Stream& stream) const {
  return ops.rms_norm(stream.x, norm_);
}

Tensor Dhara::logits(Ops& ops, Tensor hidden) const {
  return ops.soft_cap(head_ ? ops.linear(hidden, head_) : ops.project(hidden, embedding_),
                      shape_.soft_cap);
}

TextModelInfo Dhara::info() const {
  return {shape_.hidden, shape_.vocabulary, shape_.context_length};
}

BlockPredictionInfo Dhara::block_prediction() const {
  return {shape_.mask_token, kBlockLength};
}

/// Even texts are read causally. Of odd ones the last block's length is masked in part, as a canvas
/// is on its way from all masks to none, and read block by block.
Visibility Dhara::probe(int index, std::span<std::int32_t> tokens) const {
  if (index % 2 == 0) return {};
  constexpr std::size_t kQuarters = 4;  // of the canvas that are masked: 4, 3, 2, 1, 4, ..
  const auto quarters = kQuarters - static_cast<std::size_t>(index / 2) % kQuarters;
  const auto canvas = tokens.last(std::min<std::size_t>(kBlockLength, tokens.size()));
  const std::size_t masks = std::max<std::size_t>(1, canvas.size() * quarters / kQuarters);
  // Knuth's selection sampling, which the standard's generator makes the same everywhere.
  std::minstd_rand random(static_cast<std::uint32_t>(index));
  std::size_t left = std::min(masks, canvas.size());
  for (std::size_t i = 0; i < canvas.size() && left > 0; ++i) {
    if (random() % (canvas.size() - i) >= left) continue;
    canvas[i] = shape_.mask_token;
    --left;
  }
  return {VisibilityKind::block_causal, kBlockLength};
}

const void* Dhara::extension(std::string_view interface_id) const {
  if (const void* found = provide<TextModel>(interface_id, *this)) return found;
  if (const void* found = provide<BlockPrediction>(interface_id, *this)) return found;
  return provide<CalibrationProbes>(interface_id, *this);
}

}  // namespace quiver::dhara
