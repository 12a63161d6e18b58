// The least sum of KLs within a budget: dynamic programming over Pareto-optimal partial
// allocations.
#include "core/quantize/allocation.hpp"
#include "core/quantize/relaxed_allocation.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace quiver {
namespace {

/// Partial allocations that are kept at a time, and links between them. With more of them the
/// search stops being exact; they bound it to about 100 MB and a few seconds.
constexpr std::size_t kMostStates = std::size_t{1} << 16U;
constexpr std::size_t kMostLinks = std::size_t{1} << 21U;

/// Losses closer than this are rounding: bounds are computed in doubles.
constexpr double kRounding = 16;

constexpr std::uint32_t kNoLink = std::numeric_limits<std::uint32_t>::max();

/// Units that were visited deviate from the relaxation's choices; the others have them.
struct State {
  std::int64_t bytes;
  std::int64_t loss;
  std::uint32_t link;   ///< The deviations before.
  std::int32_t choice;  ///< Of the unit being visited; -1 = none.
};

/// A deviation, in a chain that ends with kNoLink.
struct Link {
  std::uint32_t before;
  std::uint32_t unit;
  std::uint32_t choice;
};

/// How cheaply the units from some place on can trade loss for bytes.
struct Slopes {
  double gain = 0;                                        ///< Most loss saved for a byte more.
  double cost = std::numeric_limits<double>::infinity();  ///< Least loss for a byte less.
};

/// Searches around the relaxation's solution, units whose other choices are nearly as good first:
/// the slopes of those that are left grow apart, until no state can become better than the best.
/// Source of the order and the bounds: Pisinger, A minimal algorithm for the multiple-choice
/// knapsack problem, EJOR 83 (1995).
class Search {
 public:
  explicit Search(const RelaxedAllocation& relaxed)
      : relaxed_(relaxed), best_(relaxed.start), best_loss_(relaxed.start_loss) {
    order();
  }

  void run() {
    states_ = {{relaxed_.bytes, relaxed_.loss, kNoLink, -1}};
    most_states_ = 1;
    for (std::size_t i = 0; i < order_.size() && !states_.empty(); ++i) {
      visit(order_[i], rest_[i + 1]);
      most_states_ = std::max(most_states_, states_.size());
      if (states_.size() > kMostStates) thin(kMostStates / 2);
      link(order_[i]);
      if (links_.size() > kMostLinks) drop_dead_links();
      while (links_.size() > kMostLinks) {
        thin(states_.size() / 2);
        drop_dead_links();
      }
      settle();
    }
  }

  const std::vector<std::size_t>& best() const { return best_; }
  std::uint64_t grain() const { return static_cast<std::uint64_t>(grain_); }
  std::size_t most_states() const { return most_states_; }

  /// Whether nothing better can exist.
  bool is_proven() const {
    return grain_ == 0 || static_cast<double>(best_loss_) <= relaxed_.bound() + kRounding;
  }

 private:
  void order() {
    std::vector<Slopes> slopes(relaxed_.units.size());
    std::vector<double> closeness(relaxed_.units.size());
    for (std::size_t u = 0; u < slopes.size(); ++u) {
      const RelaxedUnit& unit = relaxed_.units[u];
      const RelaxedChoice& own = unit[relaxed_.broken[u]];
      for (const RelaxedChoice& other : unit) {
        const double slope = static_cast<double>(own.loss - other.loss) /
                             static_cast<double>(other.bytes - own.bytes);
        if (other.bytes > own.bytes) slopes[u].gain = std::max(slopes[u].gain, slope);
        if (other.bytes < own.bytes) slopes[u].cost = std::min(slopes[u].cost, slope);
      }
      closeness[u] = std::max(slopes[u].gain / relaxed_.slope, relaxed_.slope / slopes[u].cost);
      if (unit.size() > 1) order_.push_back(u);
    }
    if (relaxed_.slope == 0) order_.clear();  // every unit has its least loss already
    std::ranges::stable_sort(
        order_, [&](std::size_t a, std::size_t b) { return closeness[a] > closeness[b]; });
    rest_.resize(order_.size() + 1);
    for (std::size_t i = order_.size(); i-- > 0;) {
      rest_[i].gain = std::max(rest_[i + 1].gain, slopes[order_[i]].gain);
      rest_[i].cost = std::min(rest_[i + 1].cost, slopes[order_[i]].cost);
    }
  }

  /// Whether a state may still become better than the best, with the units that are left.
  bool is_alive(const State& state, const Slopes& rest) const {
    const auto room = static_cast<double>(relaxed_.budget - state.bytes);
    const double change = room >= 0 ? -rest.gain * room : -rest.cost * room;
    return static_cast<double>(state.loss) + change + kRounding < static_cast<double>(best_loss_);
  }

  /// All states with every choice of the unit, without those that are hopeless or beaten.
  void visit(std::size_t u, const Slopes& rest) {
    const RelaxedUnit& unit = relaxed_.units[u];
    const RelaxedChoice& own = unit[relaxed_.broken[u]];
    std::vector<State> next;
    std::vector<State> shifted;
    std::vector<State> merged;
    for (std::size_t c = 0; c < unit.size(); ++c) {
      const std::int64_t bytes = unit[c].bytes - own.bytes;
      const std::int64_t loss = unit[c].loss - own.loss;
      const std::int32_t choice = c == relaxed_.broken[u] ? -1 : static_cast<std::int32_t>(c);
      shifted.clear();
      for (const State& state : states_) {
        const State moved = {state.bytes + bytes, state.loss + loss, state.link, choice};
        if (is_alive(moved, rest)) shifted.push_back(moved);
      }
      merge(next, shifted, merged);
      std::swap(next, merged);
    }
    states_ = std::move(next);
  }

  /// Both by bytes ascending and loss descending; so is the result, without what is beaten.
  static void merge(const std::vector<State>& a, const std::vector<State>& b,
                    std::vector<State>& merged) {
    merged.clear();
    merged.reserve(a.size() + b.size());
    auto left = a.begin();
    auto right = b.begin();
    while (left != a.end() || right != b.end()) {
      const bool takes_left =
          right == b.end() ||
          (left != a.end() &&
           (left->bytes != right->bytes ? left->bytes < right->bytes : left->loss <= right->loss));
      const State& state = takes_left ? *left++ : *right++;
      if (merged.empty() || state.loss < merged.back().loss) merged.push_back(state);
    }
  }

  /// Keeps the most promising state of every `grain_` bytes, with as small a grain as leaves at
  /// most `most` states.
  void thin(std::size_t most) {
    const auto value = [&](const State& state) {
      return static_cast<double>(state.loss) + relaxed_.slope * static_cast<double>(state.bytes);
    };
    std::vector<State> kept;
    for (grain_ = std::max<std::int64_t>(grain_, 1);; grain_ *= 2) {
      kept.clear();
      std::int64_t last = -1;
      for (const State& state : states_) {
        const std::int64_t place = (state.bytes - states_.front().bytes) / grain_;
        if (place != last) {
          kept.push_back(state);
        } else if (value(state) < value(kept.back())) {
          kept.back() = state;
        }
        last = place;
      }
      if (kept.size() <= most) break;
    }
    states_ = std::move(kept);
  }

  void link(std::size_t u) {
    for (State& state : states_) {
      if (state.choice < 0) continue;
      links_.push_back(
          {state.link, static_cast<std::uint32_t>(u), static_cast<std::uint32_t>(state.choice)});
      state.link = static_cast<std::uint32_t>(links_.size() - 1);
      state.choice = -1;
    }
  }

  void drop_dead_links() {
    std::vector<std::uint32_t> places(links_.size(), 0);
    for (const State& state : states_) {
      for (std::uint32_t l = state.link; l != kNoLink && places[l] == 0; l = links_[l].before) {
        places[l] = 1;
      }
    }
    std::uint32_t count = 0;
    for (std::size_t l = 0; l < links_.size(); ++l) {
      if (places[l] == 0) continue;
      Link live = links_[l];
      if (live.before != kNoLink) live.before = places[live.before];
      places[l] = count;
      links_[count++] = live;
    }
    links_.resize(count);
    for (State& state : states_) {
      if (state.link != kNoLink) state.link = places[state.link];
    }
  }

  /// A state within the budget is a whole allocation.
  void settle() {
    const auto end = std::ranges::partition_point(
        states_, [&](const State& state) { return state.bytes <= relaxed_.budget; });
    if (end == states_.begin()) return;
    const State& state = *std::prev(end);
    if (state.loss >= best_loss_) return;
    best_loss_ = state.loss;
    best_ = relaxed_.broken;
    for (std::uint32_t l = state.link; l != kNoLink; l = links_[l].before) {
      best_[links_[l].unit] = links_[l].choice;
    }
  }

  const RelaxedAllocation& relaxed_;
  std::vector<std::size_t> order_;
  std::vector<Slopes> rest_;  ///< By place in the order: of the units from there on.
  std::vector<State> states_;
  std::vector<Link> links_;
  std::vector<std::size_t> best_;
  std::int64_t best_loss_;
  std::int64_t grain_ = 0;
  std::size_t most_states_ = 0;
};

/// Units with the same choices are interchangeable: earlier ones get the wider widths.
void sort_equals(const AllocationProblem& problem,
                 const std::vector<std::vector<std::size_t>>& allowed,
                 std::vector<std::size_t>& choices) {
  std::map<std::vector<double>, std::vector<std::size_t>> alike;
  for (std::size_t u = 0; u < choices.size(); ++u) {
    std::vector<double> key;
    for (const std::size_t c : allowed[u]) {
      const AllocationChoice& choice = problem.units[u].choices[c];
      key.insert(key.end(), {static_cast<double>(c), static_cast<double>(choice.bits),
                             static_cast<double>(choice.bytes), choice.kl});
    }
    alike[key].push_back(u);
  }
  for (const auto& [key, units] : alike) {
    std::vector<std::size_t> chosen;
    for (const std::size_t u : units) chosen.push_back(choices[u]);
    std::ranges::sort(chosen, std::greater<>());
    for (std::size_t i = 0; i < units.size(); ++i) choices[units[i]] = chosen[i];
  }
}

}  // namespace

Allocation allocate_exact(const AllocationProblem& problem, const AllocationRules& rules,
                          double target_bpw) {
  validate(problem);
  const auto allowed = allowed_choices(problem, rules);
  const RelaxedAllocation relaxed =
      relax(problem, allowed, unit_budget(problem, allowed, target_bpw));
  Search search(relaxed);
  search.run();
  std::vector<std::size_t> choices(problem.units.size());
  double least = 0;
  for (std::size_t u = 0; u < choices.size(); ++u) {
    choices[u] = relaxed.units[u][search.best()[u]].index;
    least += problem.units[u].choices[relaxed.units[u].back().index].kl;
  }
  sort_equals(problem, allowed, choices);
  Allocation result = evaluate(problem, std::move(choices));
  result.is_optimal = search.is_proven();
  result.grain_bytes = search.grain();
  result.most_states = search.most_states();
  result.kl_bound = result.is_optimal ? result.kl : least + relaxed.bound() * relaxed.quantum;
  return result;
}

}  // namespace quiver
