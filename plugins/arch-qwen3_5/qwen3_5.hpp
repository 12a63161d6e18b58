// The Qwen3.5 family: gated delta rules and full attention in turn, with dense MLPs or experts, and
// a head that drafts.
#pragma once

#include <quiver/architecture.hpp>
#include <quiver/draft_head.hpp>
#include <quiver/experts.hpp>
#include <quiver/recurrence.hpp>
#include <quiver/text_model.hpp>

#include <optional>
#include <string>
#include <vector>

#include "shape.hpp"
#include "vision.hpp"

namespace quiver::qwen3_5 {

/// Full attention whose output is gated.
struct Attention {
  Linear q, k, v, o;  ///< q holds each head's query, then its gate.
  Norm q_norm, k_norm;
  KvCache cache;
};

/// A recurrence in place of attention. Source: Yang et al., Gated Delta Networks, arXiv 2412.06464.
struct LinearAttention {
  Linear qkv, z, a, b, out;
  CausalConv conv;
  DeltaRule rule;
  Norm norm;
};

struct Mlp {
  Linear gate, up, down;  ///< Of a dense MLP, or of the expert that every row takes.
  Linear router;          ///< None in a dense MLP, and so are those that follow.
  Linear shared_gate;
  ExpertLinear experts_gate, experts_up, experts_down;
  RoutingSpec routing;
};

struct Layer {
  Norm input_norm;
  bool is_attention = false;
  Attention attention;
  LinearAttention linear_attention;
  Norm mlp_norm;
  Mlp mlp;
};

/// Takes the parts of layers, and runs them.
class Layers {
 public:
  Layers(const Config& config, Weights& weights, const Shape& shape);

  /// Layer with the parts NAME.*; `use` as in KvCacheSpec.
  Layer take(Weights& weights, const std::string& name, bool is_attention, CacheUse use) const;

  Tensor run(Ops& ops, const Layer& layer, Tensor x) const;

  /// Writes keys and values of an attention layer for the rows of x, and computes nothing else.
  void remember(Ops& ops, const Layer& layer, Tensor x) const;

 private:
  Attention take_attention(Weights& weights, const std::string& name, Role role,
                           CacheUse use) const;
  LinearAttention take_linear_attention(Weights& weights, const std::string& name) const;
  Mlp take_mlp(Weights& weights, const std::string& name, bool is_draft) const;
  Tensor attend(Ops& ops, const Attention& attention, Tensor h) const;
  Tensor recur(Ops& ops, const LinearAttention& attention, Tensor h) const;
  Tensor mlp(Ops& ops, const Mlp& mlp, Tensor h) const;

  const Shape* shape_;
  Rope rope_;
  float scale_ = 1;
};

/// The head that drafts: one attention layer over the embedding of a token and the hidden state in
/// front of it.
struct DraftHeadParts {
  Norm embedding_norm, hidden_norm;
  Linear fc;
  Layer layer;
  Norm norm;

  explicit operator bool() const noexcept { return static_cast<bool>(fc); }
};

/// Whether the checkpoint holds the head, and its parts; none where it does not.
DraftHeadParts take_draft_head(Weights& weights, const Layers& layers, const Shape& shape);

class Qwen3_5 : public Model, public TextModel, public DraftHead, public ImageEncoder {
 public:
  Qwen3_5(const Config& config, Weights& weights);

  int block_count() const override { return shape_.layers; }
  void block(int index, Ops& ops, Stream& stream) const override;
  const void* extension(std::string_view interface_id) const override;

  TextModelInfo info() const override;
  Stream embed(Ops& ops) const override;
  Tensor finish(Ops& ops, const Stream& stream) const override;
  Tensor logits(Ops& ops, Tensor hidden) const override;

  void remember(Ops& ops, Tensor hidden) const override;
  Tensor draft(Ops& ops, Tensor hidden) const override;

  ImageSpec image() const override { return tower_->image(); }
  Tensor encode(Ops& ops, Tensor patches) const override { return tower_->encode(ops, patches); }

 private:
  Tensor join(Ops& ops, Tensor hidden) const;

  Shape shape_;
  Embedding embedding_;
  Layers parts_;
  std::vector<Layer> layers_;
  Norm norm_;
  Linear head_;  ///< None where the embedding is the head.
  DraftHeadParts draft_head_;
  std::optional<Tower> tower_;  ///< None where the checkpoint lacks it.
};

}  // namespace quiver::qwen3_5
