// The reference package's allocator, for parity with its results.
#pragma once

#include "core/quantize/allocation.hpp"

#include <string_view>

namespace quiver {

struct GreedyOptions {
  double target_bpw = 5.0;  ///< Bits of codes per parameter of the units; a floor, not a limit.
  int floor_per_block = 2;  ///< 0 = none.
};

/// Chooses as the reference does (shared/specs/convert.md, section 3): all units at their narrowest
/// width; a floor per block; then single steps with the most benefit per bit and parameter, those
/// of protected layers counted a hundred times, until the target is reached or passed; then a guard
/// against runs of narrow blocks. Names decide about blocks, attention and protection, and about
/// ties; roles, blocks and bytes of the units are not looked at. A KL that grows with the width
/// counts as a benefit, as in tables that were measured against a uniform quantization; NaNs count
/// as ten times the largest KL and more. All units must have the same widths: Error(bad_input)
/// otherwise. [any-thread]
Allocation allocate_greedy(const AllocationProblem& problem, const GreedyOptions& options);

/// Index into the units of the one whose width a module of the written model takes: that of the
/// same name; else the first that is equal after every "model." is deleted from both names; else
/// the first where one name ends with the other. -1 where none does: such modules take
/// widest_bits(). [any-thread]
std::ptrdiff_t matching_unit(const AllocationProblem& problem, std::string_view module);

/// The widest width that an allocation uses: what the reference gives to matrices that it did not
/// measure. [any-thread]
int widest_bits(const AllocationProblem& problem, const Allocation& allocation);

}  // namespace quiver
