// The reference package's allocator.
#include "core/quantize/allocate_greedy.hpp"

#include "core/quantize/layer_names.hpp"
#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <queue>
#include <set>
#include <string>
#include <tuple>

namespace quiver {
namespace {

constexpr double kProtection = 100;
constexpr std::size_t kLongestRun = 3;
constexpr int kFullAttention = 4;  ///< Blocks with so many attention parts get the whole floor.

/// Units of every block, in the order of the input.
using Blocks = std::map<int, std::vector<std::size_t>>;

void require_same_widths(const AllocationProblem& problem) {
  const auto& first = problem.units.front().choices;
  for (const AllocationUnit& unit : problem.units) {
    const bool is_same = std::ranges::equal(unit.choices, first, {}, &AllocationChoice::bits,
                                            &AllocationChoice::bits);
    if (is_same) continue;
    throw Error(ErrorCode::bad_input, "the layer has other widths than the first one",
                printable(unit.name), "measure all layers at the same widths");
  }
}

/// Every NaN becomes ten times the largest KL, and more for narrower widths.
void replace_unmeasured(AllocationProblem& problem) {
  double largest = 0;
  for (const AllocationUnit& unit : problem.units) {
    for (const AllocationChoice& choice : unit.choices) {
      if (std::isfinite(choice.kl)) largest = std::max(largest, choice.kl);
    }
  }
  const double widest = problem.units.front().choices.back().bits;
  for (AllocationUnit& unit : problem.units) {
    for (AllocationChoice& choice : unit.choices) {
      if (std::isnan(choice.kl)) choice.kl = 10 * largest * widest / choice.bits;
    }
  }
}

class Greedy {
 public:
  Greedy(const AllocationProblem& problem, const GreedyOptions& options)
      : units_(problem.units), options_(options), choices_(problem.units.size(), 0) {
    for (std::size_t u = 0; u < units_.size(); ++u) {
      const int block = block_in_name(units_[u].name);
      if (block >= 0) blocks_[block].push_back(u);
    }
    widths_ = units_.front().choices.size();
  }

  std::vector<std::size_t> run() {
    if (widths_ > 1) raise_floors();
    step_to_target();
    if (widths_ > 1) break_runs();
    return choices_;
  }

 private:
  /// The block's units by KL at the narrowest width, descending.
  std::vector<std::size_t> ranking(std::vector<std::size_t> units) const {
    std::ranges::stable_sort(units, [&](std::size_t a, std::size_t b) {
      return units_[a].choices.front().kl > units_[b].choices.front().kl;
    });
    return units;
  }

  void raise_floors() {
    for (const auto& [block, units] : blocks_) {
      const std::vector<std::size_t> ranked = ranking(units);
      std::vector<std::size_t> attention;
      for (const std::size_t u : ranked) {
        if (is_attention_name(units_[u].name)) attention.push_back(u);
      }
      const bool is_full = attention.size() >= kFullAttention;
      const int total = is_full ? options_.floor_per_block : std::min(options_.floor_per_block, 1);
      int reserved = std::min({is_full ? 2 : 1, total, static_cast<int>(attention.size())});
      int left = total - reserved;
      for (const std::size_t u : attention) {
        if (reserved-- <= 0) break;
        choices_[u] = 1;
      }
      for (const std::size_t u : ranked) {
        if (left <= 0) break;
        if (choices_[u] != 0) continue;
        choices_[u] = 1;
        --left;
      }
    }
  }

  bool is_protected(std::size_t u) const {
    const std::string& name = units_[u].name;
    const int block = block_in_name(name);
    if (block >= 0 && (block == blocks_.begin()->first || block == blocks_.rbegin()->first)) {
      return true;
    }
    return is_end_name(name) || is_router_name(name) || is_shared_expert_name(name);
  }

  /// What a step up promises; 0 at the widest width.
  double efficiency(std::size_t u) const {
    const auto& choices = units_[u].choices;
    if (choices_[u] + 1 >= widths_) return 0;
    const AllocationChoice& from = choices[choices_[u]];
    const AllocationChoice& to = choices[choices_[u] + 1];
    const double factor = is_protected(u) ? kProtection : 1;
    const double benefit = std::abs(from.kl * factor - to.kl * factor);
    const double cost =
        static_cast<double>(to.bits - from.bits) * static_cast<double>(units_[u].parameters);
    return benefit / cost;
  }

  void step_to_target() {
    // The last part only tells equal names apart.
    using Entry = std::tuple<double, std::string_view, std::size_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> steps;
    const auto push = [&](std::size_t u) {
      const double promise = efficiency(u);
      if (promise != 0) steps.emplace(-promise, units_[u].name, u);
    };
    double parameters = 0;
    double bits = 0;
    for (std::size_t u = 0; u < units_.size(); ++u) {
      const auto count = static_cast<double>(units_[u].parameters);
      parameters += count;
      bits += count * units_[u].choices[choices_[u]].bits;
      push(u);
    }
    while (!steps.empty() && bits / parameters < options_.target_bpw) {
      const std::size_t u = std::get<2>(steps.top());
      steps.pop();
      const auto& choices = units_[u].choices;
      bits += static_cast<double>(units_[u].parameters) *
              (choices[choices_[u] + 1].bits - choices[choices_[u]].bits);
      ++choices_[u];
      push(u);
    }
  }

  bool is_narrow(const std::vector<std::size_t>& units) const {
    const auto narrow =
        std::ranges::count_if(units, [&](std::size_t u) { return choices_[u] == 0; });
    return 2 * static_cast<std::size_t>(narrow) > units.size();
  }

  /// In long runs of narrow blocks, every third one from the first has its most sensitive layer
  /// raised.
  void break_runs() {
    std::vector<const std::vector<std::size_t>*> run;
    const auto finish = [&] {
      if (run.size() > kLongestRun) {
        for (std::size_t i = 0; i < run.size(); i += kLongestRun) {
          for (const std::size_t u : ranking(*run[i])) {
            if (choices_[u] != 0) continue;
            choices_[u] = 1;
            break;
          }
        }
      }
      run.clear();
    };
    for (const auto& [block, units] : blocks_) {
      if (is_narrow(units)) {
        run.push_back(&units);
      } else {
        finish();
      }
    }
    finish();
  }

  const std::vector<AllocationUnit>& units_;
  GreedyOptions options_;
  std::vector<std::size_t> choices_;
  Blocks blocks_;
  std::size_t widths_ = 0;
};

std::string without_model(std::string_view name) {
  constexpr std::string_view kWord = "model.";
  std::string result(name);
  for (std::size_t at = result.find(kWord); at != std::string::npos; at = result.find(kWord, at)) {
    result.erase(at, kWord.size());
  }
  return result;
}

}  // namespace

Allocation allocate_greedy(const AllocationProblem& problem, const GreedyOptions& options) {
  AllocationProblem measured = problem;
  if (!measured.units.empty()) {
    require_same_widths(measured);
    if (!measured.units.front().choices.empty()) replace_unmeasured(measured);
  }
  validate(measured);
  return evaluate(measured, Greedy(measured, options).run());
}

std::ptrdiff_t matching_unit(const AllocationProblem& problem, std::string_view module) {
  const auto find = [&](const auto& matches) -> std::ptrdiff_t {
    for (std::size_t u = 0; u < problem.units.size(); ++u) {
      if (matches(std::string_view(problem.units[u].name))) return static_cast<std::ptrdiff_t>(u);
    }
    return -1;
  };
  std::ptrdiff_t found = find([&](std::string_view name) { return name == module; });
  if (found >= 0) return found;
  const std::string plain = without_model(module);
  found = find([&](std::string_view name) { return without_model(name) == plain; });
  if (found >= 0) return found;
  return find(
      [&](std::string_view name) { return name.ends_with(module) || module.ends_with(name); });
}

int widest_bits(const AllocationProblem& problem, const Allocation& allocation) {
  int widest = 0;
  for (std::size_t u = 0; u < allocation.choices.size(); ++u) {
    widest = std::max(widest, problem.units[u].choices[allocation.choices[u]].bits);
  }
  return widest;
}

}  // namespace quiver
