// The Llama family: pre-norm decoder blocks with grouped-query attention and a gated MLP.
#pragma once

#include <quiver/architecture.hpp>
#include <quiver/text_model.hpp>
#include <vector>

namespace quiver::llama {

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
  bool has_tied_head = false;
  bool has_qkv_bias = false;
  bool has_o_bias = false;
  bool has_mlp_bias = false;
  bool has_qk_norm = false;
  Activation activation = Activation::silu;
  std::vector<int> windows;  ///< One a layer; 0 = full attention.
};

/// Reads and checks the shape of any model type of the family.
Shape read_shape(const Config& config);

struct Layer {
  Norm input_norm;
  Linear q, k, v, o;
  Norm q_norm, k_norm;  ///< None unless the model type has them.
  KvCache cache;
  Norm mlp_norm;
  Linear gate, up, down;
};

class Llama : public Model, public TextModel {
 public:
  Llama(const Config& config, Weights& weights);

  int block_count() const override { return shape_.layers; }
  void block(int index, Ops& ops, Stream& stream) const override;
  const void* extension(std::string_view interface_id) const override;

  TextModelInfo info() const override;
  Stream embed(Ops& ops) const override;
  Tensor finish(Ops& ops, const Stream& stream) const override;
  Tensor logits(Ops& ops, Tensor hidden) const override;

 private:
  Shape shape_;
  Embedding embedding_;
  std::vector<Layer> layers_;
  Rope rope_;
  Norm norm_;
  Linear head_;  ///< None where the embedding is the head.
  float scale_ = 1;
};

}  // namespace quiver::llama
