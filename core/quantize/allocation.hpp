// Which width each matrix gets: what is chosen among, the user's rules, and the results.
#pragma once

#include <quiver/weights.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// One way to store a unit, and what it loses by it.
struct AllocationChoice {
  int bits = 0;             ///< 16 = kept as it is.
  int group_size = 0;       ///< 0 for a kept matrix.
  std::uint64_t bytes = 0;  ///< All that is written: codes, scales and biases, or the kept matrix.
  double kl = 0;            ///< Nats a token; negative where it gains. NaN = not measured.
};

/// Something that gets one width: a linear, stacked experts, an embedding with its tied head.
struct AllocationUnit {
  std::string name;
  Role role = Role::other;
  int block = -1;  ///< -1 = in no block.
  std::uint64_t parameters = 0;
  std::vector<AllocationChoice> choices;  ///< At least one; each width once, by ascending bits.
};

/// A model as the allocator sees it.
struct AllocationProblem {
  std::vector<AllocationUnit> units;
  std::uint64_t fixed_bytes = 0;  ///< Of everything that is written whatever is chosen.
  std::uint64_t fixed_parameters = 0;
};

/// Every unit whose name matches the glob (fnmatch) gets this width.
struct AllocationPin {
  std::string glob;
  int bits = 0;
};

/// What a user asks for besides the budget.
struct AllocationRules {
  std::vector<std::string> protect;  ///< Globs of units that keep their widest choice.
  std::vector<AllocationPin> pins;   ///< Stronger than `protect`; of several the last one holds.
  /// In every block, so many units (those that lose most at their narrowest choice) may not take
  /// that choice. Units that rules hold above it count.
  int floor_per_block = 0;
};

/// A width for every unit.
struct Allocation {
  std::vector<std::size_t> choices;  ///< By unit: index into AllocationUnit::choices.
  std::uint64_t bytes = 0;           ///< Of everything, what is fixed included.
  double bpw_true = 0;               ///< Bits of everything written per parameter of everything.
  double bpw_linear = 0;  ///< Bits of codes per parameter of the units: no scales, nothing fixed.
  double kl = 0;          ///< Sum over the units.
  /// No allocation within the rules and the budget has a lower sum than this; -infinity where
  /// nothing was proven.
  double kl_bound = -std::numeric_limits<double>::infinity();
  /// Whether `kl` is the least sum there is, up to rounding (2^-47 of the range of the sums).
  /// Always false for allocate_greedy().
  bool is_optimal = false;
  /// Where the search was too large to be exact: bytes within which it told no two partial sums
  /// apart; 0 = exact.
  std::uint64_t grain_bytes = 0;
  std::size_t most_states = 0;  ///< Most partial allocations that were kept at a time.
};

/// Checks a problem: names, widths in order, sizes that can be added up, and measured values.
/// Throws Error(bad_input) that names the unit and the width. [any-thread]
void validate(const AllocationProblem& problem);

/// For each unit the indices of the choices that the rules leave, ascending. Throws Error(usage)
/// where a glob matches no unit or a pin names a width that a matched unit lacks. [any-thread]
std::vector<std::vector<std::size_t>> allowed_choices(const AllocationProblem& problem,
                                                      const AllocationRules& rules);

/// Bytes for the units of a model of `target_bpw` true bits per parameter, everything that is
/// written counted. Throws Error(usage) "target below what the floor allows: at least X bpw" where
/// even the smallest allowed choices do not fit. [any-thread]
std::uint64_t unit_budget(const AllocationProblem& problem,
                          const std::vector<std::vector<std::size_t>>& allowed, double target_bpw);

/// The sums that belong to chosen widths; kl_bound, is_optimal and what follows stay at their
/// defaults. [any-thread]
Allocation evaluate(const AllocationProblem& problem, std::vector<std::size_t> choices);

/// The choices with the least sum of KLs whose bytes fit the target, found exactly: a
/// multiple-choice knapsack, solved by dynamic programming over Pareto-optimal partial allocations
/// that start from the Lagrangian relaxation and are pruned by its bound. Time and memory are
/// bounded whatever the input: where more partial allocations would have to be kept than a fixed
/// number, those within `grain_bytes` of each other are taken for equal in size, and the result
/// says so.
///
/// The result depends on nothing but the arguments. Ties: of units with the same choices, those
/// that stand earlier get the wider ones; of other allocations with equal sums the one that the
/// search meets first. KLs may be negative; a NaN or infinite one is an error. Throws as the
/// functions above do. [any-thread]
Allocation allocate_exact(const AllocationProblem& problem, const AllocationRules& rules,
                          double target_bpw);

}  // namespace quiver
