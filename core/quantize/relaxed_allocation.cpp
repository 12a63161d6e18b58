// The Lagrangian relaxation of an allocation.
#include "core/quantize/relaxed_allocation.hpp"

#include <algorithm>
#include <cmath>

namespace quiver {
namespace {

/// The whole range of sums in quanta: few enough for doubles to hold every sum exactly.
constexpr int kRangeBits = 52;

/// Allowed choices by size, those that are no better than a smaller one left out.
RelaxedUnit undominated(const AllocationUnit& unit, const std::vector<std::size_t>& allowed,
                        double quantum) {
  double least = unit.choices[allowed.front()].kl;
  for (const std::size_t c : allowed) least = std::min(least, unit.choices[c].kl);
  RelaxedUnit all;
  for (const std::size_t c : allowed) {
    const AllocationChoice& choice = unit.choices[c];
    all.push_back({c, static_cast<std::int64_t>(choice.bytes),
                   static_cast<std::int64_t>(std::nearbyint((choice.kl - least) / quantum))});
  }
  std::ranges::stable_sort(all, [](const RelaxedChoice& a, const RelaxedChoice& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
  });
  RelaxedUnit kept;
  for (const RelaxedChoice& choice : all) {
    if (kept.empty() || choice.loss < kept.back().loss) kept.push_back(choice);
  }
  return kept;
}

double quantum_of(const AllocationProblem& problem,
                  const std::vector<std::vector<std::size_t>>& allowed) {
  double range = 0;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    const auto& choices = problem.units[u].choices;
    const auto [low, high] =
        std::ranges::minmax_element(allowed[u], {}, [&](std::size_t c) { return choices[c].kl; });
    range += choices[*high].kl - choices[*low].kl;
  }
  // A power of two: dividing by it loses nothing.
  return range > 0 ? std::ldexp(1.0, std::ilogb(range) + 1 - kRangeBits) : 1.0;
}

double slope_between(const RelaxedChoice& small, const RelaxedChoice& large) {
  return static_cast<double>(small.loss - large.loss) /
         static_cast<double>(large.bytes - small.bytes);
}

/// A step along the lower convex hull of a unit's choices.
struct Step {
  double slope;
  std::size_t unit;
  std::size_t from;
  std::size_t to;
};

void add_hull(const RelaxedUnit& unit, std::size_t index, std::vector<Step>& steps) {
  std::vector<std::size_t> hull;
  for (std::size_t c = 0; c < unit.size(); ++c) {
    while (hull.size() >= 2 && slope_between(unit[hull[hull.size() - 2]], unit[hull.back()]) <=
                                   slope_between(unit[hull.back()], unit[c])) {
      hull.pop_back();
    }
    hull.push_back(c);
  }
  for (std::size_t h = 1; h < hull.size(); ++h) {
    steps.push_back({slope_between(unit[hull[h - 1]], unit[hull[h]]), index, hull[h - 1], hull[h]});
  }
}

}  // namespace

RelaxedAllocation relax(const AllocationProblem& problem,
                        const std::vector<std::vector<std::size_t>>& allowed,
                        std::uint64_t budget) {
  RelaxedAllocation result;
  result.budget = static_cast<std::int64_t>(budget);
  result.quantum = quantum_of(problem, allowed);
  std::vector<Step> steps;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    result.units.push_back(undominated(problem.units[u], allowed[u], result.quantum));
    add_hull(result.units[u], u, steps);
    result.bytes += result.units[u].front().bytes;
    result.loss += result.units[u].front().loss;
  }
  std::ranges::stable_sort(steps, [](const Step& a, const Step& b) { return a.slope > b.slope; });
  result.broken.assign(result.units.size(), 0);
  result.start = result.broken;
  std::int64_t bytes = result.bytes;
  result.start_loss = result.loss;
  for (const Step& step : steps) {
    const RelaxedUnit& unit = result.units[step.unit];
    if (result.start[step.unit] != step.from) continue;  // a step before it did not fit
    const std::int64_t more = unit[step.to].bytes - unit[step.from].bytes;
    const bool fits = more <= result.budget - bytes;
    if (!fits && result.slope == 0) result.slope = step.slope;
    if (!fits) continue;
    bytes += more;
    result.start[step.unit] = step.to;
    result.start_loss -= unit[step.from].loss - unit[step.to].loss;
    if (result.slope != 0) continue;
    result.broken = result.start;
    result.bytes = bytes;
    result.loss = result.start_loss;
  }
  return result;
}

}  // namespace quiver
