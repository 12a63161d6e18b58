// The dhara family: decoder blocks with causal convolutions (Canon layers) around every product,
// trained to predict the next token as well as whole blocks of masked ones.
#pragma once

#include <quiver/architecture.hpp>
#include <quiver/block_prediction.hpp>
#include <quiver/calibration_probes.hpp>
#include <quiver/text_model.hpp>
#include <vector>

namespace quiver::dhara {

/// Which Canon layers there are: A before attention, B on queries, keys and values, C before the
/// MLP, D inside it. Source: Allen-Zhu, Physics of Language Models 4.1, arXiv 2512.17351; here D
/// stands behind the product of gate and up.
struct CanonShape {
  bool has_a = false, has_b = false, has_c = false, has_d = false;
  int kernel = 4;
  bool has_bias = false;
  CausalConvUse use;
};

/// Sizes and switches, from config.json.
struct Shape {
  int hidden = 0;
  int layers = 0;
  int ffn = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocabulary = 0;
  int context_length = 0;
  float epsilon = 0;
  float soft_cap = 0;  ///< Of the logits; 0 = none.
  bool has_tied_head = false;
  bool has_qk_norm = false;
  int mask_token = 0;
  CanonShape canon;
};

/// Reads and checks the shape. Fields that are missing are those of dhara-250m.
Shape read_shape(const Config& config);

struct Layer {
  Norm input_norm;
  CausalConv canon_a;  ///< This and the other convolutions: none unless the config names them.
  Linear q, k, v, o;
  CausalConv canon_b_q, canon_b_k, canon_b_v;
  Rope rope;
  Norm q_norm, k_norm;  ///< None unless the config asks for them.
  KvCache cache;
  Norm mlp_norm;
  CausalConv canon_c;
  Linear gate, up, down;
  CausalConv canon_d;
};

class Dhara : public Model, public TextModel, public BlockPrediction, public CalibrationProbes {
 public:
  Dhara(const Config& config, Weights& weights);

  int block_count() const override { return shape_.layers; }
  void block(int index, Ops& ops, Stream& stream) const override;
  const void* extension(std::string_view interface_id) const override;

  TextModelInfo info() const override;
  Stream embed(Ops& ops) const override;
  Tensor finish(Ops& ops, const Stream& stream) const override;
  Tensor logits(Ops& ops, Tensor hidden) const override;

  BlockPredictionInfo block_prediction() const override;
  Visibility probe(int index, std::span<std::int32_t> tokens) const override;

 private:
  Tensor canon(Ops& ops, CausalConv conv, Tensor x) const;

  Shape shape_;
  Embedding embedding_;
  std::vector<Layer> layers_;
  Norm norm_;
  Linear head_;  ///< None where the embedding is the head.
  float scale_ = 1;
};

}  // namespace quiver::dhara
