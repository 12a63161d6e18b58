// Which rows of a sequence see which: data, not code.
#pragma once

#include <cstdint>

namespace quiver {

enum class VisibilityKind : std::uint32_t {
  causal = 0,  ///< A token sees those before it and itself.
  /// Token i sees token j where j / block_length <= i / block_length, both counted from the start
  /// of the sequence: everything inside its own block, nothing of later ones.
  block_causal = 1,
  /// Rows of one pass see everything before the pass and each other: a canvas that is filled in.
  canvas = 2,
  alone = 3,  ///< A row sees itself.
};

/// The rule for the rows of one sequence in one pass. A row never sees what the pass does not hold:
/// a block that a pass feeds in part is seen in that part. A layer's window (KvCacheSpec::window)
/// bounds what is seen before a row, on top of any rule.
struct Visibility {
  VisibilityKind kind = VisibilityKind::causal;
  std::int32_t block_length = 0;  ///< Of block_causal only, at least 1.

  bool operator==(const Visibility&) const = default;
};

}  // namespace quiver
