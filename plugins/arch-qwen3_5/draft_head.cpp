// The head of Qwen3.5 that drafts: its parts and its forward pass.
#include "qwen3_5.hpp"

namespace quiver::qwen3_5 {

DraftHeadParts take_draft_head(Weights& weights, const Layers& layers, const Shape& shape) {
  DraftHeadParts head;
  // Configs speak of the head where checkpoints have lost it.
  if (!weights.has("mtp.fc.weight")) return head;
  const NormSpec norm{shape.epsilon, true};
  head.embedding_norm = weights.norm("mtp.pre_fc_norm_embedding", shape.hidden, norm);
  head.hidden_norm = weights.norm("mtp.pre_fc_norm_hidden", shape.hidden, norm);
  head.fc =
      weights.linear("mtp.fc", shape.hidden, 2 * shape.hidden, {Role::draft_head, Bias::none});
  head.layer = layers.take(weights, "mtp.layers.0", true, CacheUse::draft);
  head.norm = weights.norm("mtp.norm", shape.hidden, norm);
  return head;
}

/// What the head's layer reads: a row's token and the state in front of it.
Tensor Qwen3_5::join(Ops& ops, Tensor hidden) const {
  const DraftHeadParts& head = draft_head_;
  const std::array parts{ops.rms_norm(ops.embed(embedding_), head.embedding_norm),
                         ops.rms_norm(hidden, head.hidden_norm)};
  return ops.linear(ops.concat(parts), head.fc);
}

void Qwen3_5::remember(Ops& ops, Tensor hidden) const {
  parts_.remember(ops, draft_head_.layer, join(ops, hidden));
}

Tensor Qwen3_5::draft(Ops& ops, Tensor hidden) const {
  const Tensor x = parts_.run(ops, draft_head_.layer, join(ops, hidden));
  return ops.rms_norm(x, draft_head_.norm);
}

}  // namespace quiver::qwen3_5
