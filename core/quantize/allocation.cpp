// What is chosen among, the user's rules, the budget.
#include "core/quantize/allocation.hpp"

#include "core/tensor/checked_math.hpp"
#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace quiver {
namespace {

/// Far above any KL, and small enough that sums of millions of them stay finite.
constexpr double kLargestKl = 1e100;
/// Sizes that doubles hold exactly.
constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 53U;

[[noreturn]] void refuse(const std::string& what, const std::string& where,
                         const std::string& hint) {
  throw Error(ErrorCode::bad_input, what, where, hint);
}

void validate_choices(const AllocationUnit& unit) {
  const std::string name = printable(unit.name);
  if (unit.choices.empty()) refuse("a layer has no width to choose", name, "measure one or more");
  int last = 0;
  for (const AllocationChoice& choice : unit.choices) {
    if (choice.bits <= last || choice.bits > 32) {
      refuse(fmt::format("the widths of a layer are not ascending numbers from 1 to 32 at {}",
                         choice.bits),
             name, "name each width once");
    }
    last = choice.bits;
    if (!(std::abs(choice.kl) <= kLargestKl)) {
      refuse(std::isnan(choice.kl)
                 ? fmt::format("the layer was not measured at {} bits", choice.bits)
                 : fmt::format("the KL at {} bits is {}", choice.bits, choice.kl),
             name, "measure it again, or leave this width out");
    }
  }
}

std::string widths_of(const AllocationUnit& unit) {
  std::string all;
  for (const AllocationChoice& choice : unit.choices) {
    all += fmt::format("{}{}", all.empty() ? "" : ", ", choice.bits);
  }
  return all;
}

/// The unit's one choice by the rules, or -1 where they leave it free.
class Commands {
 public:
  Commands(const AllocationProblem& problem, const AllocationRules& rules)
      : problem_(problem), commanded_(problem.units.size(), -1) {
    for (const std::string& glob : rules.protect) {
      for_each_match(glob, "--protect", [&](std::size_t u) {
        commanded_[u] = static_cast<std::ptrdiff_t>(problem.units[u].choices.size()) - 1;
      });
    }
    for (const AllocationPin& pin : rules.pins) {
      for_each_match(pin.glob, "--pin", [&](std::size_t u) { commanded_[u] = find(u, pin); });
    }
  }

  std::ptrdiff_t operator[](std::size_t unit) const { return commanded_[unit]; }

 private:
  template <class Visit>
  void for_each_match(const std::string& glob, const char* option, const Visit& visit) {
    bool is_found = false;
    for (std::size_t u = 0; u < problem_.units.size(); ++u) {
      if (fnmatch(glob.c_str(), problem_.units[u].name.c_str(), 0) != 0) continue;
      is_found = true;
      visit(u);
    }
    if (is_found) return;
    throw Error(ErrorCode::usage, in_quotes(glob) + " matches no layer", option,
                problem_.units.empty()
                    ? std::string("there are no layers")
                    : "names are like " + in_quotes(problem_.units.front().name));
  }

  std::ptrdiff_t find(std::size_t u, const AllocationPin& pin) const {
    const AllocationUnit& unit = problem_.units[u];
    for (std::size_t c = 0; c < unit.choices.size(); ++c) {
      if (unit.choices[c].bits == pin.bits) return static_cast<std::ptrdiff_t>(c);
    }
    throw Error(ErrorCode::usage,
                fmt::format("{} has no choice of {} bits", in_quotes(unit.name), pin.bits), "--pin",
                "its widths are " + widths_of(unit));
  }

  const AllocationProblem& problem_;
  std::vector<std::ptrdiff_t> commanded_;
};

/// Takes the narrowest choice from those units of each block that lose most by it.
void apply_floor(const AllocationProblem& problem, int floor,
                 std::vector<std::vector<std::size_t>>& allowed) {
  std::map<int, std::vector<std::size_t>> blocks;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    if (problem.units[u].block >= 0) blocks[problem.units[u].block].push_back(u);
  }
  for (auto& [block, units] : blocks) {
    auto missing = static_cast<std::ptrdiff_t>(floor);
    missing -= std::ranges::count_if(units, [&](std::size_t u) { return allowed[u].front() > 0; });
    std::ranges::stable_sort(units, [&](std::size_t a, std::size_t b) {
      return problem.units[a].choices.front().kl > problem.units[b].choices.front().kl;
    });
    for (const std::size_t u : units) {
      if (missing <= 0) break;
      if (allowed[u].size() < 2 || allowed[u].front() > 0) continue;
      allowed[u].erase(allowed[u].begin());
      --missing;
    }
  }
}

std::uint64_t all_parameters(const AllocationProblem& problem) {
  std::uint64_t all = problem.fixed_parameters;
  for (const AllocationUnit& unit : problem.units) all += unit.parameters;
  return all;
}

}  // namespace

void validate(const AllocationProblem& problem) {
  std::set<std::string_view> names;
  std::uint64_t parameters = problem.fixed_parameters;
  std::uint64_t bytes = problem.fixed_bytes;
  for (const AllocationUnit& unit : problem.units) {
    const std::string name = printable(unit.name);
    if (!names.insert(unit.name).second) refuse("two layers have one name", name, "rename one");
    validate_choices(unit);
    std::uint64_t largest = 0;
    for (const AllocationChoice& choice : unit.choices) largest = std::max(largest, choice.bytes);
    const auto more_parameters = checked_add(parameters, unit.parameters);
    const auto more_bytes = checked_add(bytes, largest);
    if (unit.parameters == 0 || more_parameters.value_or(UINT64_MAX) > kLargestSize ||
        more_bytes.value_or(UINT64_MAX) > kLargestSize) {
      refuse("the layer's size is zero or beyond any model", name, "correct its parameters");
    }
    parameters = *more_parameters;
    bytes = *more_bytes;
  }
  if (problem.units.empty()) refuse("there is no layer to allocate bits to", "", "measure some");
  if (parameters > kLargestSize || bytes > kLargestSize) {
    refuse("the fixed part is larger than any model", "fixed", "correct its size");
  }
}

std::vector<std::vector<std::size_t>> allowed_choices(const AllocationProblem& problem,
                                                      const AllocationRules& rules) {
  const Commands commands(problem, rules);
  std::vector<std::vector<std::size_t>> allowed(problem.units.size());
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    if (commands[u] >= 0) {
      allowed[u] = {static_cast<std::size_t>(commands[u])};
    } else {
      allowed[u].resize(problem.units[u].choices.size());
      std::iota(allowed[u].begin(), allowed[u].end(), std::size_t{0});
    }
  }
  apply_floor(problem, rules.floor_per_block, allowed);
  return allowed;
}

std::uint64_t unit_budget(const AllocationProblem& problem,
                          const std::vector<std::vector<std::size_t>>& allowed, double target_bpw) {
  std::uint64_t least = problem.fixed_bytes;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    std::uint64_t smallest = UINT64_MAX;
    for (const std::size_t c : allowed[u]) {
      smallest = std::min(smallest, problem.units[u].choices[c].bytes);
    }
    least += smallest;
  }
  const auto parameters = static_cast<double>(all_parameters(problem));
  const double bytes = std::floor(target_bpw / 8 * parameters);
  if (!(bytes >= static_cast<double>(least))) {
    // Rounded up, so that the figure itself can be asked for.
    const double reachable = std::ceil(static_cast<double>(least) * 8 / parameters * 1e4) / 1e4;
    throw Error(
        ErrorCode::usage,
        fmt::format("target below what the floor allows: at least {:g} bpw", reachable),
        fmt::format("{:g} true bits per weight, scales and unquantized parts included", target_bpw),
        "ask for more, give narrower widths, or lift pins and floors");
  }
  return static_cast<std::uint64_t>(std::min(bytes, static_cast<double>(kLargestSize))) -
         problem.fixed_bytes;
}

Allocation evaluate(const AllocationProblem& problem, std::vector<std::size_t> choices) {
  Allocation result;
  result.choices = std::move(choices);
  result.bytes = problem.fixed_bytes;
  std::uint64_t parameters = 0;
  double bits = 0;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    const AllocationUnit& unit = problem.units[u];
    const AllocationChoice& choice = unit.choices[result.choices[u]];
    result.bytes += choice.bytes;
    result.kl += choice.kl;
    parameters += unit.parameters;
    bits += static_cast<double>(choice.bits) * static_cast<double>(unit.parameters);
  }
  result.bpw_linear = bits / static_cast<double>(parameters);
  result.bpw_true = static_cast<double>(result.bytes) * 8 /
                    static_cast<double>(parameters + problem.fixed_parameters);
  return result;
}

}  // namespace quiver
