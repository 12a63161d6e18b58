// Improves an allocation by swaps that are measured on the whole model.
#include "core/quantize/refine_allocation.hpp"

#include <algorithm>
#include <set>

namespace quiver {
namespace {

using Choices = std::vector<std::size_t>;

/// One unit's change of choice.
struct Step {
  std::size_t unit;
  std::size_t choice;
  std::int64_t bytes;  ///< More than before; negative: fewer.
  double kl;           ///< More than before.
};

struct Swap {
  Step up;
  const Step* down;  ///< nullptr: paid from what the budget leaves.
  double kl;
};

/// All steps away from the choices, wider ones and narrower ones.
void list_steps(const AllocationProblem& problem,
                const std::vector<std::vector<std::size_t>>& allowed, const Choices& choices,
                std::vector<Step>& ups, std::vector<Step>& downs) {
  for (std::size_t unit = 0; unit < choices.size(); ++unit) {
    const auto& all = problem.units[unit].choices;
    const AllocationChoice& now = all[choices[unit]];
    for (const std::size_t choice : allowed[unit]) {
      if (choice == choices[unit]) continue;
      const Step step{
          unit, choice,
          static_cast<std::int64_t>(all[choice].bytes) - static_cast<std::int64_t>(now.bytes),
          all[choice].kl - now.kl};
      (step.bytes > 0 ? ups : downs).push_back(step);
    }
  }
}

/// The swaps that fit, by what they should change, best first; not more than `most`.
std::vector<Swap> list_swaps(const std::vector<Step>& ups, std::vector<Step>& downs,
                             std::int64_t slack, std::size_t most) {
  std::ranges::stable_sort(downs, {}, &Step::kl);
  std::vector<Swap> swaps;
  for (const Step& up : ups) {
    if (up.bytes <= slack) swaps.push_back({up, nullptr, up.kl});
    std::size_t partners = 0;
    for (const Step& down : downs) {
      if (down.unit == up.unit || up.bytes + down.bytes > slack) continue;
      swaps.push_back({up, &down, up.kl + down.kl});
      if (++partners == 4) break;  // narrower steps that cost more come later
    }
  }
  std::ranges::stable_sort(swaps, {}, &Swap::kl);
  if (swaps.size() > most) swaps.resize(most, swaps.front());
  return swaps;
}

Choices apply(Choices choices, const Swap& swap) {
  choices[swap.up.unit] = swap.up.choice;
  if (swap.down != nullptr) choices[swap.down->unit] = swap.down->choice;
  return choices;
}

std::int64_t unit_bytes(const AllocationProblem& problem, const Choices& choices) {
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    bytes += static_cast<std::int64_t>(problem.units[i].choices[choices[i]].bytes);
  }
  return bytes;
}

}  // namespace

Refinement refine_allocation(const AllocationProblem& problem, const AllocationRules& rules,
                             std::uint64_t budget, std::vector<std::size_t> start, int trials,
                             int batch, const AllocationMeasure& measure) {
  const auto allowed = allowed_choices(problem, rules);
  Refinement result;
  result.choices = std::move(start);
  result.kl = result.kl_start = measure({&result.choices, 1})[0];
  std::set<Choices> seen{result.choices};
  while (result.tried < trials) {
    std::vector<Step> ups;
    std::vector<Step> downs;
    list_steps(problem, allowed, result.choices, ups, downs);
    const std::int64_t slack =
        static_cast<std::int64_t>(budget) - unit_bytes(problem, result.choices);
    std::vector<Choices> candidates;
    const int most = std::min(batch, trials - result.tried);
    for (const Swap& swap : list_swaps(ups, downs, slack, 4096)) {
      Choices choices = apply(result.choices, swap);
      if (!seen.insert(choices).second) continue;
      candidates.push_back(std::move(choices));
      if (static_cast<int>(candidates.size()) == most) break;
    }
    if (candidates.empty()) break;
    const std::vector<double> kls = measure(candidates);
    result.tried += static_cast<int>(candidates.size());
    const auto best = std::ranges::min_element(kls);
    if (*best >= result.kl) continue;
    result.kl = *best;
    result.choices = candidates[static_cast<std::size_t>(best - kls.begin())];
    ++result.kept;
  }
  return result;
}

}  // namespace quiver
