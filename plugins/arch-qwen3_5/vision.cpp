// The tower of Qwen3.5 that looks at pictures.
#include "vision.hpp"

#include <cmath>
#include <string>

#include "host_extension.hpp"

namespace quiver::qwen3_5 {
namespace {

// Not in any config: constants of the tower.
constexpr float kEpsilon = 1e-6F;
constexpr double kRopeTheta = 10000;

Error invalid(const std::string& what, const std::string& where) {
  return Error(ErrorCode::bad_input, what, "config.json, " + where, "correct the file");
}

VisionShape read_shape(const Config& config, int hidden) {
  const std::string at = "vision_config.";
  VisionShape s;
  s.depth = config.integer(at + "depth");
  s.hidden = config.integer(at + "hidden_size");
  s.heads = config.integer(at + "num_heads");
  s.ffn = config.integer(at + "intermediate_size");
  s.output = config.integer_or(at + "out_hidden_size", hidden);
  const int entries = config.integer(at + "num_position_embeddings");
  s.table_side = static_cast<int>(std::lround(std::sqrt(entries)));
  s.image.patch = config.integer_or(at + "patch_size", 16);
  s.image.merge = config.integer_or(at + "spatial_merge_size", 2);
  s.image.temporal = config.integer_or(at + "temporal_patch_size", 2);
  s.image.image_token = config.integer("image_token_id", 0);
  s.image.begin_token = config.integer_or("vision_start_token_id", -1, -1);
  s.image.end_token = config.integer_or("vision_end_token_id", -1, -1);
  if (s.table_side * s.table_side != entries) {
    throw invalid("learned positions that fill no square", at + "num_position_embeddings");
  }
  if (s.output != hidden) throw invalid("not as wide as the text", at + "out_hidden_size");
  if (config.integer_or(at + "in_channels", 3) != 3) {
    throw invalid("pictures have three colours", at + "in_channels");
  }
  if (s.hidden % s.heads != 0 || s.head_dim() % 4 != 0 || s.depth > 4096) {
    throw invalid("heads that cannot turn by rows and columns", at + "num_heads");
  }
  if (s.image.patch > 512 || s.image.merge > 16 || s.image.temporal > 64) {
    throw invalid("patches of absurd size", at + "patch_size");
  }
  return s;
}

/// Half of a head's pairs turn by the row, the other half by the column, at the same frequencies.
Rope take_rope(Weights& weights, int head_dim) {
  const int each = head_dim / 4;
  std::vector<float> frequencies;
  std::vector<std::uint8_t> positions;
  for (std::uint8_t axis = 1; axis <= 2; ++axis) {
    for (int j = 0; j < each; ++j) {
      frequencies.push_back(static_cast<float>(std::pow(kRopeTheta, -2.0 * j / (head_dim / 2))));
      positions.push_back(axis);
    }
  }
  return weights.rope({.inverse_frequencies = frequencies,
                       .magnitude = 1,
                       .layout = RopeLayout::half,
                       .position_of_pair = positions});
}

}  // namespace

bool has_tower(const Config& config, const Weights& weights) {
  return config.has("vision_config.depth") && weights.has("vision_tower.patch_embed.proj.weight");
}

Tower::Tower(const Config& config, Weights& weights, int hidden)
    : shape_(read_shape(config, hidden)) {
  const VisionShape& s = shape_;
  auto& tower = extension_of<TowerWeights>(weights);
  const LinearSpec spec{Role::tower, Bias::required};
  const std::string at = "vision_tower.";
  patches_ = tower.patch_embedding(at + "patch_embed.proj", s.hidden,
                                   {3, s.image.temporal, s.image.patch});
  positions_ = tower.position_table(at + "pos_embed", s.table_side, s.hidden);
  rope_ = take_rope(weights, s.head_dim());
  for (int i = 0; i < s.depth; ++i) {
    const std::string name = at + "blocks." + std::to_string(i) + ".";
    VisionBlock b;
    b.attention_norm = tower.layer_norm(name + "norm1", s.hidden, kEpsilon);
    b.qkv = weights.linear(name + "attn.qkv", 3 * s.hidden, s.hidden, spec);
    b.proj = weights.linear(name + "attn.proj", s.hidden, s.hidden, spec);
    b.mlp_norm = tower.layer_norm(name + "norm2", s.hidden, kEpsilon);
    b.fc1 = weights.linear(name + "mlp.linear_fc1", s.ffn, s.hidden, spec);
    b.fc2 = weights.linear(name + "mlp.linear_fc2", s.hidden, s.ffn, spec);
    blocks_.push_back(b);
  }
  const int merged = s.hidden * s.image.merge * s.image.merge;
  merger_norm_ = tower.layer_norm(at + "merger.norm", s.hidden, kEpsilon);
  merger_fc1_ = weights.linear(at + "merger.linear_fc1", merged, merged, spec);
  merger_fc2_ = weights.linear(at + "merger.linear_fc2", s.output, merged, spec);
}

Tensor Tower::attend(Ops& ops, const VisionBlock& block, Tensor h) const {
  const int width = shape_.hidden;
  const Tensor qkv = ops.linear(h, block.qkv);
  const Tensor q = ops.rope(ops.slice_heads(qkv, 1, 0, width), rope_, shape_.head_dim());
  const Tensor k = ops.rope(ops.slice_heads(qkv, 1, width, width), rope_, shape_.head_dim());
  const Tensor v = ops.slice_heads(qkv, 1, 2 * width, width);
  const float scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim()));
  return ops.linear(extension_of<TowerOps>(ops).picture_attention(q, k, v, shape_.heads, scale),
                    block.proj);
}

Tensor Tower::encode(Ops& ops, Tensor patches) const {
  auto& tower = extension_of<TowerOps>(ops);
  Tensor x = ops.add(ops.linear(patches, patches_), tower.positions(positions_));
  for (const VisionBlock& block : blocks_) {
    x = ops.add(x, attend(ops, block, tower.layer_norm(x, block.attention_norm)));
    const Tensor h = ops.linear(tower.layer_norm(x, block.mlp_norm), block.fc1);
    x = ops.add(x, ops.linear(ops.activate(h, Activation::gelu_tanh), block.fc2));
  }
  const Tensor squares =
      tower.merge_rows(tower.layer_norm(x, merger_norm_), shape_.image.merge * shape_.image.merge);
  return ops.linear(ops.activate(ops.linear(squares, merger_fc1_), Activation::gelu_erf),
                    merger_fc2_);
}

}  // namespace quiver::qwen3_5
