// What a detector's kernels may get, as a problem for the allocators.
#pragma once

#include <span>
#include <vector>

#include "core/quantize/allocation.hpp"
#include "core/quantize/detector_kernels.hpp"
#include "core/quantize/sensitivity.hpp"

namespace quiver {

struct DetectorAllocationRules {
  bool may_keep = false;  ///< A kernel may stay as it is.
  /// The first convolution and those of the head's end get the widest candidate.
  bool protects_ends = true;
};

/// Units in the order of DetectorKernels::chosen(), and everything else as fixed. `kl` by unit;
/// empty where nothing has been measured yet: then all choices of a unit lose the same.
AllocationProblem detector_problem(DetectorKernels& kernels, std::span<const WidthDivergences> kl,
                                   const DetectorAllocationRules& rules);

/// Chooses widths as the reference package does for detectors: all at the narrowest; upgrades from
/// there by falling benefit for each bit added, until the mean width of the values reaches the
/// target; one that costs more than 1.05 times what is left is passed over. A unit moves once.
/// Returns choices by unit. REQUIRES: all units have the same widths. [any-thread]
std::vector<std::size_t> allocate_detector_greedy(const AllocationProblem& problem,
                                                  double target_bpw);

}  // namespace quiver
