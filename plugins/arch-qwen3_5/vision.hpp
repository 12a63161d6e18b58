// The tower of Qwen3.5 that looks at pictures.
#pragma once

#include <quiver/architecture.hpp>
#include <quiver/image_encoder.hpp>

#include <vector>

namespace quiver::qwen3_5 {

struct VisionShape {
  int depth = 0;
  int hidden = 0;
  int heads = 0;
  int ffn = 0;
  int table_side = 0;  ///< Of the square of learned positions.
  int output = 0;      ///< Hidden width of the text model.
  ImageSpec image;

  int head_dim() const { return hidden / heads; }
};

/// Whether config and checkpoint hold the tower.
bool has_tower(const Config& config, const Weights& weights);

struct VisionBlock {
  LayerNorm attention_norm, mlp_norm;
  Linear qkv, proj;
  Linear fc1, fc2;
};

/// Bidirectional attention over the patches of a picture, then squares of patches merged.
class Tower {
 public:
  /// Takes the parts vision_tower.*; `hidden` is the width of the text model.
  Tower(const Config& config, Weights& weights, int hidden);

  const ImageSpec& image() const { return shape_.image; }
  Tensor encode(Ops& ops, Tensor patches) const;

 private:
  Tensor attend(Ops& ops, const VisionBlock& block, Tensor h) const;

  VisionShape shape_;
  Linear patches_;
  PositionTable positions_;
  Rope rope_;
  std::vector<VisionBlock> blocks_;
  LayerNorm merger_norm_;
  Linear merger_fc1_, merger_fc2_;
};

}  // namespace quiver::qwen3_5
