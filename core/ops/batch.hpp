// The rows that one forward pass works on.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/cache/sequence.hpp"

namespace quiver {

/// Consecutive rows of one sequence. Row r of the segment is token `start + r` of the sequence.
struct Segment {
  Sequence* sequence = nullptr;
  int first_row = 0;
  int rows = 0;
  int start = 0;
};

/// Flattened rows of several sequences, each with its token and its three rotary positions (time,
/// height, width; all equal for text).
struct Batch {
  std::vector<Segment> segments;
  std::vector<std::int32_t> tokens;
  std::vector<std::array<std::int32_t, 3>> positions;

  int rows() const noexcept { return static_cast<int>(tokens.size()); }
};

}  // namespace quiver
