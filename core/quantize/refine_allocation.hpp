// Improves an allocation by swaps that are measured on the whole model.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/quantize/allocation.hpp"

namespace quiver {

/// Gives the measured divergence of allocations: choices by unit.
using AllocationMeasure =
    std::function<std::vector<double>(std::span<const std::vector<std::size_t>> allocations)>;

struct Refinement {
  std::vector<std::size_t> choices;
  double kl = 0;        ///< Measured, of the choices.
  double kl_start = 0;  ///< Measured, of the allocation it started from.
  int tried = 0;        ///< Swaps measured.
  int kept = 0;
};

/// Sums of divergences are not quite the divergence of a whole; this looks for better wholes of at
/// most `budget` bytes of units near one. A swap gives one unit a wider choice and takes another a
/// narrower one, or only uses up what the budget leaves; those that should lose least by the sums
/// are measured first, `batch` at a time, and the best of a batch is kept where it beats what is.
/// Ends after `trials` swaps or when none is left. The result depends on the arguments and the
/// measured values only. Source of the idea: Sieberling et al., EvoPress, arXiv 2410.14649.
Refinement refine_allocation(const AllocationProblem& problem, const AllocationRules& rules,
                             std::uint64_t budget, std::vector<std::size_t> start, int trials,
                             int batch, const AllocationMeasure& measure);

}  // namespace quiver
