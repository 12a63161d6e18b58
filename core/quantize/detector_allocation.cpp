// What a detector's kernels may get, as a problem for the allocators.
#include "core/quantize/detector_allocation.hpp"

#include <algorithm>

#include "core/model/checkpoint.hpp"

namespace quiver {
namespace {

std::uint64_t stored_elements(const Conv2dPart& conv) {
  if (conv.matrix.scheme == nullptr)
    return conv.matrix.dense.size() / size_bytes(conv.matrix.dtype);
  std::uint64_t elements = 0;
  for (int i = 0; i < conv.matrix.part_count; ++i) {
    elements += conv.matrix.parts[static_cast<std::size_t>(i)].size() / sizeof(float);
  }
  return elements;
}

}  // namespace

AllocationProblem detector_problem(DetectorKernels& kernels, std::span<const WidthDivergences> kl,
                                   const DetectorAllocationRules& rules) {
  AllocationProblem problem;
  std::uint64_t kernel_bytes = 0;
  std::uint64_t kernel_elements = 0;
  for (const std::size_t index : kernels.chosen()) {
    const Conv2dPart& conv = kernels.part(index);
    const std::size_t u = problem.units.size();
    kernel_bytes += conv.matrix.size_bytes();
    kernel_elements += stored_elements(conv);
    AllocationUnit unit;
    unit.name = conv.name;
    unit.role = conv.role;
    unit.block = conv.block;
    unit.parameters = static_cast<std::uint64_t>(conv.outputs * conv.columns);
    const bool is_end = conv.role == Role::embedding || conv.role == Role::head;
    for (const DetectorKernels::Candidate& candidate : kernels.candidates(index)) {
      if (rules.protects_ends && is_end && candidate.bits != kernels.formats().bits.back())
        continue;
      // Before anything is measured a floor is taken to lift the smallest kernels.
      const double lost =
          kl.empty() ? 1.0 / static_cast<double>(unit.parameters) : kl[u].at(candidate.bits);
      unit.choices.push_back({candidate.bits, kernels.formats().group_size,
                              candidate.matrix.matrix().size_bytes(), lost});
    }
    if (rules.may_keep) unit.choices.push_back({kKeepBits, 0, conv.matrix.size_bytes(), 0});
    problem.units.push_back(std::move(unit));
  }
  std::uint64_t bytes = 0;
  std::uint64_t elements = 0;
  const Checkpoint& checkpoint = *kernels.model().checkpoint();
  for (const std::string& name : checkpoint.names()) {
    const TensorView& tensor = *checkpoint.find(name);
    bytes += tensor.data.size();
    elements += static_cast<std::uint64_t>(tensor.elements());
  }
  problem.fixed_bytes = bytes - kernel_bytes;
  problem.fixed_parameters = elements - kernel_elements;
  return problem;
}

std::vector<std::size_t> allocate_detector_greedy(const AllocationProblem& problem,
                                                  double target_bpw) {
  struct Upgrade {
    double benefit;
    std::size_t unit;
    std::size_t choice;
    double cost;
  };
  std::vector<Upgrade> upgrades;
  double parameters = 0;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    const auto& choices = problem.units[u].choices;
    const auto count = static_cast<double>(problem.units[u].parameters);
    parameters += count;
    for (std::size_t c = 1; c < choices.size(); ++c) {
      const double cost = (choices[c].bits - choices[0].bits) * count;
      upgrades.push_back({(choices[0].kl - choices[c].kl) / cost, u, c, cost});
    }
  }
  std::ranges::stable_sort(upgrades, std::ranges::greater(), &Upgrade::benefit);
  std::vector<std::size_t> chosen(problem.units.size(), 0);
  const int narrowest = problem.units.empty() ? 0 : problem.units.front().choices.front().bits;
  double left = (target_bpw - narrowest) * parameters;
  for (const Upgrade& upgrade : upgrades) {
    if (left <= 0) break;
    if (chosen[upgrade.unit] != 0 || upgrade.cost > 1.05 * left) continue;
    chosen[upgrade.unit] = upgrade.choice;
    left -= upgrade.cost;
  }
  return chosen;
}

}  // namespace quiver
