// How stored tensors become the ones a model takes: declared, not coded.
#pragma once

#include <cstdint>

namespace quiver {

enum class TensorRuleKind : std::uint32_t {
  rename = 0,  ///< `from` becomes `to`.
  drop = 1,    ///< `from` is known and not needed.
  /// `from` becomes `to`, and the rows of each head, stored as pairs (2j, 2j + 1), return to halves
  /// (j, j + n): what GGUF writers interleave for their rotary embedding. The number of heads is
  /// the config value at the path `parameter`.
  rename_deinterleave_heads = 2,
  /// Like drop, for parts of a model that the family does not run but others do: towers for images
  /// or sound. Whoever converts the model can have them kept (--keep-unused-modalities), which is
  /// never so for what `drop` leaves out, such as a duplicate of a tied head or a stored table.
  drop_tower = 3,
};

/// One rule. Patterns are full tensor names in which `*` stands for one or more characters without
/// a dot, and a `**` at the end of `from` for any rest, dots too: "model.visual.**". The n-th of
/// them in `to` repeats what the n-th of `from` matched. The first rule that matches a name decides;
/// a name that no rule matches stays as it is.
struct TensorRule {
  TensorRuleKind kind;
  const char* from;
  const char* to;         ///< nullptr for drop and drop_tower.
  const char* parameter;  ///< Config path; nullptr where the kind needs none.
  /// The rule holds only while this config path is true (or, with a leading '!', is not); nullptr =
  /// always. E.g. "tie_word_embeddings" on the rule that drops a duplicate head.
  const char* condition;
};

}  // namespace quiver
