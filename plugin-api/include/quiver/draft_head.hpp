// The extension of text models with a head that predicts beyond the next token.
#pragma once

#include <quiver/handles.hpp>
#include <quiver/ops.hpp>

#include <string_view>

namespace quiver {

/// Asked of a Model by id, and found only where the checkpoint holds the head: multi-token
/// prediction as in DeepSeek-AI, arXiv 2412.19437, section 2.2.
///
/// A row of the head is a token and the final hidden state (TextModel::finish) of the row in front
/// of it; at the start of a text, zeros. It gives a hidden state of its own, which
/// TextModel::logits turns into a prediction of the token behind the row's, and which stands for
/// the final hidden state where the next row is a draft. The head attends to earlier rows through
/// caches of its own (CacheUse::draft), so the first token of a text must be hidden there
/// (KvCacheSpec::hidden_tokens): no state stands in front of it. The host runs the head, decides
/// how far it drafts, and verifies. [any-thread]
class DraftHead {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.draft-head/1";
  virtual ~DraftHead() = default;

  /// Writes the rows into the head's caches, so that later rows see them. `hidden` [rows, hidden]
  /// are the states in front of the rows.
  virtual void remember(Ops& ops, Tensor hidden) const = 0;

  /// Writes the rows as remember() does, and gives their hidden states [rows, hidden].
  virtual Tensor draft(Ops& ops, Tensor hidden) const = 0;
};

}  // namespace quiver
