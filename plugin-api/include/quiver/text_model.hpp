// The extension of models that read and predict tokens.
#pragma once

#include <quiver/handles.hpp>
#include <quiver/ops.hpp>

#include <string_view>

namespace quiver {

/// Sizes of a text model, from its config.
struct TextModelInfo {
  int hidden = 0;          ///< Width of the residual stream.
  int vocabulary = 0;      ///< Width of the logits.
  int context_length = 0;  ///< Positions the model was made for; 0 = not stated.
};

/// Asked of a Model by id. The host runs embed, the blocks, finish, and logits for the rows whose
/// logits are wanted. [any-thread]
class TextModel {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.text-model/1";
  virtual ~TextModel() = default;

  virtual TextModelInfo info() const = 0;

  /// The stream before block 0, from the batch's token ids.
  virtual Stream embed(Ops& ops) const = 0;

  /// The stream after the last block -> final hidden states [rows, hidden].
  virtual Tensor finish(Ops& ops, const Stream& stream) const = 0;

  /// Final hidden states -> logits [rows, vocabulary].
  virtual Tensor logits(Ops& ops, Tensor hidden) const = 0;
};

}  // namespace quiver
