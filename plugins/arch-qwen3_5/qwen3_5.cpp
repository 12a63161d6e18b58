// The Qwen3.5 family: its parts and its forward pass.
#include "qwen3_5.hpp"

#include <quiver/plugin.hpp>
#include <quiver/rope_frequencies.hpp>

#include <cmath>

#include "host_extension.hpp"

namespace quiver::qwen3_5 {
Layers::Layers(const Config& config, Weights& weights, const Shape& shape)
    : shape_(&shape), scale_(1.0F / std::sqrt(static_cast<float>(shape.head_dim))) {
  const RopeFrequencies frequencies = rope_frequencies(config, shape.prefix, shape.rotary_dims);
  const std::vector<std::uint8_t> positions = position_of_pair(config, shape);
  rope_ = weights.rope({.inverse_frequencies = frequencies.inverse,
                        .magnitude = frequencies.magnitude,
                        .layout = RopeLayout::half,
                        .position_of_pair = positions});
}

Attention Layers::take_attention(Weights& weights, const std::string& name, Role role,
                                 CacheUse use) const {
  const Shape& s = *shape_;
  const LinearSpec spec{role, Bias::none};
  Attention a;
  a.q = weights.linear(name + ".q_proj", 2 * s.q_width(), s.hidden, spec);
  a.k = weights.linear(name + ".k_proj", s.kv_width(), s.hidden, spec);
  a.v = weights.linear(name + ".v_proj", s.kv_width(), s.hidden, spec);
  a.o = weights.linear(name + ".o_proj", s.hidden, s.q_width(), spec);
  a.q_norm = weights.norm(name + ".q_norm", s.head_dim, {s.epsilon, true});
  a.k_norm = weights.norm(name + ".k_norm", s.head_dim, {s.epsilon, true});
  // No hidden state stands in front of a text's first token, so a draft head does not see it.
  a.cache = weights.kv_cache({.kv_heads = s.kv_heads,
                              .head_dim = s.head_dim,
                              .window = 0,
                              .use = use,
                              .hidden_tokens = use == CacheUse::draft ? 1 : 0});
  return a;
}

LinearAttention Layers::take_linear_attention(Weights& weights, const std::string& name) const {
  const Shape& s = *shape_;
  const LinearSpec spec{Role::recurrent, Bias::none};
  const int values = s.values_width();
  const int channels = 2 * s.keys_width() + values;
  const int heads = s.delta_rule.value_heads;
  LinearAttention l;
  l.qkv = weights.linear(name + ".in_proj_qkv", channels, s.hidden, spec);
  l.z = weights.linear(name + ".in_proj_z", values, s.hidden, spec);
  l.b = weights.linear(name + ".in_proj_b", heads, s.hidden, spec);
  l.a = weights.linear(name + ".in_proj_a", heads, s.hidden, spec);
  l.conv = weights.causal_conv(name + ".conv1d", channels, s.conv_kernel, {false});
  l.rule = extension_of<RecurrentWeights>(weights).delta_rule(name, s.delta_rule);
  l.norm = weights.norm(name + ".norm", s.delta_rule.value_dim, {s.epsilon, true});
  l.out = weights.linear(name + ".out_proj", s.hidden, values, spec);
  return l;
}

Mlp Layers::take_mlp(Weights& weights, const std::string& name, bool is_draft) const {
  const Shape& s = *shape_;
  const auto role = [&](Role own) { return LinearSpec{is_draft ? Role::draft_head : own, {}}; };
  const auto gated = [&](const std::string& at, int ffn, const LinearSpec& spec, Mlp& mlp) {
    mlp.gate = weights.linear(at + ".gate_proj", ffn, s.hidden, spec);
    mlp.up = weights.linear(at + ".up_proj", ffn, s.hidden, spec);
    mlp.down = weights.linear(at + ".down_proj", s.hidden, ffn, spec);
  };
  Mlp mlp;
  if (s.experts.experts == 0) {
    gated(name, s.ffn, role(Role::mlp), mlp);
    return mlp;
  }
  ExpertShape e = s.experts;
  if (is_draft) {
    // A draft head may have another number of experts than the config gives its model.
    std::array<std::int64_t, 2> router{};
    if (weights.shape(name + ".gate.weight", router) == 2 && router[0] >= 1 &&
        router[0] < (1 << 20)) {
      e.experts = static_cast<int>(router[0]);
    }
    e.experts_per_row = std::min(e.experts_per_row, e.experts);
  }
  mlp.routing = {e.experts_per_row, e.renormalizes};
  mlp.router = weights.linear(name + ".gate", e.experts, s.hidden, role(Role::router));
  auto& experts = extension_of<ExpertWeights>(weights);
  const ExpertLinearSpec spec{role(Role::expert).role, e.experts, e.experts_per_row};
  const std::string stack = name + ".switch_mlp";
  mlp.experts_gate = experts.expert_linear(stack + ".gate_proj", e.ffn, s.hidden, spec);
  mlp.experts_up = experts.expert_linear(stack + ".up_proj", e.ffn, s.hidden, spec);
  mlp.experts_down = experts.expert_linear(stack + ".down_proj", s.hidden, e.ffn, spec);
  gated(name + ".shared_expert", e.shared_ffn, role(Role::shared_expert), mlp);
  mlp.shared_gate =
      weights.linear(name + ".shared_expert_gate", 1, s.hidden, role(Role::shared_expert));
  return mlp;
}

Layer Layers::take(Weights& weights, const std::string& name, bool is_attention,
                   CacheUse use) const {
  const bool is_draft = use == CacheUse::draft;
  Layer layer;
  layer.is_attention = is_attention;
  layer.input_norm = weights.norm(name + ".input_layernorm", shape_->hidden, {shape_->epsilon});
  if (is_attention) {
    layer.attention = take_attention(weights, name + ".self_attn",
                                     is_draft ? Role::draft_head : Role::attention, use);
  } else {
    layer.linear_attention = take_linear_attention(weights, name + ".linear_attn");
  }
  layer.mlp_norm =
      weights.norm(name + ".post_attention_layernorm", shape_->hidden, {shape_->epsilon});
  layer.mlp = take_mlp(weights, name + ".mlp", is_draft);
  return layer;
}

Tensor Layers::attend(Ops& ops, const Attention& a, Tensor h) const {
  const int dim = shape_->head_dim;
  auto [queries, k, v] = ops.linears(h, a.q, a.k, a.v);
  Tensor q = ops.slice_heads(queries, shape_->heads, 0, dim);
  const Tensor gate = ops.slice_heads(queries, shape_->heads, dim, dim);
  q = ops.rope(ops.rms_norm_heads(q, a.q_norm), rope_, dim);
  k = ops.rope(ops.rms_norm_heads(k, a.k_norm), rope_, dim);
  const Tensor seen = ops.attention(a.cache, q, k, v, {.scale = scale_});
  return ops.linear(ops.gate(seen, gate, Activation::sigmoid), a.o);
}

void Layers::remember(Ops& ops, const Layer& layer, Tensor x) const {
  const Attention& a = layer.attention;
  const auto [k, v] = ops.linears(ops.rms_norm(x, layer.input_norm), a.k, a.v);
  const Tensor keys = ops.rope(ops.rms_norm_heads(k, a.k_norm), rope_, shape_->head_dim);
  ops.attention(a.cache, {}, keys, v, {.scale = scale_});
}

Tensor Layers::recur(Ops& ops, const LinearAttention& l, Tensor h) const {
  const auto [qkv, z, a, b] = ops.linears(h, l.qkv, l.z, l.a, l.b);
  const Tensor mixed = ops.causal_conv(qkv, l.conv, {.activation = Activation::silu});
  const Tensor seen = extension_of<RecurrentOps>(ops).gated_delta_rule(mixed, a, b, l.rule);
  return ops.linear(ops.gate(ops.rms_norm_heads(seen, l.norm), z, Activation::silu), l.out);
}

Tensor Layers::mlp(Ops& ops, const Mlp& m, Tensor h) const {
  const Tensor dense = ops.linear(ops.gated(h, m.gate, m.up, Activation::silu), m.down);
  if (!m.router) return dense;
  const auto [routes, gate] = ops.linears(h, m.router, m.shared_gate);
  const Tensor routed = extension_of<ExpertOps>(ops).gated_experts(
      h, routes, m.routing, m.experts_gate, m.experts_up, m.experts_down, Activation::silu);
  return ops.add(routed, ops.gate(dense, gate, Activation::sigmoid));
}

Tensor Layers::run(Ops& ops, const Layer& layer, Tensor x) const {
  const Tensor h = ops.rms_norm(x, layer.input_norm);
  x = ops.add(x, layer.is_attention ? attend(ops, layer.attention, h)
                                    : recur(ops, layer.linear_attention, h));
  return ops.add(x, mlp(ops, layer.mlp, ops.rms_norm(x, layer.mlp_norm)));
}

Qwen3_5::Qwen3_5(const Config& config, Weights& weights)
    : shape_(read_shape(config)),
      embedding_([&] {
        weights.begin_block(-1);
        return weights.embedding("language_model.model.embed_tokens", shape_.vocabulary,
                                 shape_.hidden);
      }()),
      parts_(config, weights, shape_) {
  for (int i = 0; i < shape_.layers; ++i) {
    weights.begin_block(i);
    layers_.push_back(parts_.take(weights, "language_model.model.layers." + std::to_string(i),
                                  shape_.is_attention[static_cast<std::size_t>(i)],
                                  CacheUse::target));
  }
  weights.begin_block(-1);
  norm_ = weights.norm("language_model.model.norm", shape_.hidden, {shape_.epsilon});
  if (!shape_.has_tied_head) {
    head_ = weights.linear("language_model.lm_head", shape_.vocabulary, shape_.hidden,
                           {Role::head, Bias::none});
  }
  draft_head_ = take_draft_head(weights, parts_, shape_);
  if (has_tower(config, weights)) tower_.emplace(config, weights, shape_.hidden);
}

Stream Qwen3_5::embed(Ops& ops) const {
  return {.x = ops.embed(embedding_), .side = {}};
}

void Qwen3_5::block(int index, Ops& ops, Stream& stream) const {
  stream.x = parts_.run(ops, layers_[static_cast<std::size_t>(index)], stream.x);
}

Tensor Qwen3_5::finish(Ops& ops, const Stream& stream) const {
  return ops.rms_norm(stream.x, norm_);
}

Tensor Qwen3_5::logits(Ops& ops, Tensor hidden) const {
  return head_ ? ops.linear(hidden, head_) : ops.project(hidden, embedding_);
}

TextModelInfo Qwen3_5::info() const {
  return {shape_.hidden, shape_.vocabulary, shape_.context_length};
}

const void* Qwen3_5::extension(std::string_view interface_id) const {
  if (const void* found = provide<TextModel>(interface_id, *this)) return found;
  if (tower_ && interface_id == ImageEncoder::kInterfaceId) {
    return provide<ImageEncoder>(interface_id, *this);
  }
  return draft_head_ ? provide<DraftHead>(interface_id, *this) : nullptr;
}

}  // namespace quiver::qwen3_5
