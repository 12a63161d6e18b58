// The rows that one forward pass works on.
#pragma once

#include <array>
#include <cstdint>
#include <quiver/visibility.hpp>
#include <span>
#include <utility>
#include <vector>

#include "core/cache/sequence.hpp"

namespace quiver {

/// What a row is for. Rows of different forms may be computed with different activation formats, so
/// keys and values of the same token may differ in the last bits between forms.
enum class RowForm {
  prompt,  ///< Given text, fed in chunks of the prompt grid.
  decode,  ///< The newest token, or a drafted one being verified.
  draft,   ///< What a drafter computes: never the last word on a token.
};

/// Consecutive rows of one sequence. Row r of the segment is token `start + r` of the sequence.
struct Segment {
  Sequence* sequence = nullptr;
  int first_row = 0;
  int rows = 0;
  int start = 0;
  RowForm form = RowForm::prompt;
  int variant = 0;  ///< Of the weights; see WeightVariants.
  Visibility visibility{};
};

/// Flattened rows of several sequences, each with its token and its three rotary positions (time,
/// height, width; all equal for text).
struct Batch {
  std::vector<Segment> segments;
  std::vector<std::int32_t> tokens;
  std::vector<std::array<std::int32_t, 3>> positions;
  /// Rows that stand for something else than their tokens, with what stands in place of the token's
  /// row of the embedding.
  std::vector<std::pair<int, std::span<const float>>> replaced_rows;
  /// Of a tower's pass: the pictures whose patches the segments are, rows of patches by columns.
  std::vector<std::pair<int, int>> picture_grids;

  int rows() const noexcept { return static_cast<int>(tokens.size()); }
};

}  // namespace quiver
