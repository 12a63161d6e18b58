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
  /// Towers for images or sound. A family that runs them takes them by the names that the prefix
  /// rules give them; one that does not leaves them alone. Whoever converts the model can have them
  /// kept (--keep-unused-modalities), which is never so for what `drop` leaves out, such as a
  /// duplicate of a tied head or a stored table.
  drop_tower = 3,
  /// `from` and `to` are plain beginnings of names, not patterns: one becomes the other, and the
  /// rules behind this one go on with the new name.
  prefix = 4,
  /// `from` becomes `to`, and every value is one more than is stored: norms that were trained
  /// around zero. In memory the sum is float32; a converted folder holds it rounded to the stored
  /// type, as the MLX layout does.
  add_one = 5,
  /// The same where the mean of the values is below one half: for files that do not show which of
  /// the two conventions they follow.
  add_one_if_small = 6,
  /// `from` [n, 2 rows, columns] becomes `to` [n, rows, columns] from the first half of each
  /// matrix's rows and `parameter`, a name like `to`, from the second half.
  split = 7,
  /// The tensors `from` [rows, columns], whose last `*` is an index from 0 on without gaps, become
  /// one tensor `to` [n, rows, columns]. `to` has one `*` less.
  stack = 8,
};

/// One rule. Patterns are full tensor names in which `*` stands for one or more characters without
/// a dot, and a `**` at the end of `from` for any rest, dots too: "model.visual.**". The n-th of
/// them in `to` repeats what the n-th of `from` matched. The first rule that matches a name
/// decides; a name that no rule matches stays as it is.
struct TensorRule {
  TensorRuleKind kind;
  const char* from;
  const char* to;         ///< nullptr for drop and drop_tower.
  const char* parameter;  ///< See the kinds; nullptr where the kind needs none.
  /// The rule holds only while this config path is true (or, with a leading '!', is not); nullptr =
  /// always. E.g. "tie_word_embeddings" on the rule that drops a duplicate head.
  const char* condition;
  /// A pattern of names (as prefix rules leave them): the rule holds only where the checkpoint has
  /// a convolution of such a name as [channels, 1, taps] with several taps, which is the layout of
  /// its authors; converters to the MLX layout store [channels, taps, 1]. nullptr = always.
  const char* original = nullptr;
};

}  // namespace quiver
