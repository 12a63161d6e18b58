// The Lagrangian relaxation of an allocation: where the exact search starts, and what bounds it.
#pragma once

#include "core/quantize/allocation.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace quiver {

/// A choice that no other of its unit beats in both size and loss.
struct RelaxedChoice {
  std::size_t index = 0;  ///< Into AllocationUnit::choices.
  std::int64_t bytes = 0;
  std::int64_t loss = 0;  ///< In RelaxedAllocation::quantum, over the unit's least KL.
};

/// Choices of one unit: bytes strictly ascending, losses strictly descending to 0.
using RelaxedUnit = std::vector<RelaxedChoice>;

/// KLs as whole numbers, so that sums do not depend on their order, and the solution of the problem
/// in which widths may be mixed within a unit. Its bytes are at most the budget, and what it would
/// still gain is `slope` for each byte of the rest.
struct RelaxedAllocation {
  std::vector<RelaxedUnit> units;
  double quantum = 1;               ///< Nats of a loss of 1.
  std::vector<std::size_t> broken;  ///< By unit: the choice (into RelaxedUnit) it takes.
  std::int64_t budget = 0;
  std::int64_t bytes = 0;  ///< Sum over `broken`, at most the budget.
  std::int64_t loss = 0;   ///< Sum over `broken`.
  double slope = 0;        ///< Loss a byte at the break; 0 where every unit has its least loss.
  /// A whole allocation within the budget that is at least as good as `broken`.
  std::vector<std::size_t> start;
  std::int64_t start_loss = 0;

  /// Lower bound of the loss of every allocation.
  double bound() const {
    return static_cast<double>(loss) - slope * static_cast<double>(budget - bytes);
  }
};

/// Solves the relaxation. `allowed` and `budget` come from allowed_choices() and unit_budget(); the
/// smallest allowed choices must fit the budget. [any-thread]
RelaxedAllocation relax(const AllocationProblem& problem,
                        const std::vector<std::vector<std::size_t>>& allowed, std::uint64_t budget);

}  // namespace quiver
