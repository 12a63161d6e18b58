// What the samplers of this plugin share: passes over candidates whose sums have one order.
#pragma once

#include <quiver/sampler.hpp>

#include "math.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace quiver::samplers {

/// The largest logit. Throws Error(bad_input) naming `sampler` where a logit is NaN or +infinity or
/// all are -infinity. Every sampler that is not switched off calls it first. [any-thread]
float largest_logit(const Candidates& candidates, std::string_view sampler);

/// A logit from a value computed in double: finite values stay finite in float32. [any-thread]
inline float to_logit(double value) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  if (value == -std::numeric_limits<double>::infinity()) return static_cast<float>(value);
  return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

/// Candidates of one step of a pass: enough to vectorize, few enough for the nearest cache.
constexpr std::size_t kBlock = 256;

/// Calls visit(first, values) block by block in order, after compute(logits, count, values) has
/// turned the logits from `first` on into as many doubles. [any-thread]
template <class Compute, class Visit>
void for_blocks(const Candidates& candidates, const Compute& compute, Visit visit) {
  std::array<double, kBlock> values;
  for (std::size_t first = 0; first < candidates.count; first += kBlock) {
    const std::size_t count = std::min(kBlock, candidates.count - first);
    compute(candidates.logits + first, count, values.data());
    visit(first, std::span<const double>(values.data(), count));
  }
}

/// Sum of what `compute` makes of all candidates. [any-thread]
template <class Compute>
double total_of(const Candidates& candidates, const Compute& compute) {
  double total = 0;
  for_blocks(candidates, compute, [&](std::size_t, std::span<const double> values) {
    total += sum_of(values.data(), values.size());
  });
  return total;
}

/// Computes softmax weights before normalizing: e^(logit - largest), 1 for the largest logit.
/// [any-thread]
struct SoftmaxWeights {
  float largest;
  void operator()(const float* logits, std::size_t count, double* weights) const;
};

/// Computes the same times (logit - largest). [any-thread]
struct WeightedLogits {
  float largest;
  void operator()(const float* logits, std::size_t count, double* values) const;
};

/// Computes by a function of one logit. [any-thread]
template <class Function>
struct Each {
  Function function;
  void operator()(const float* logits, std::size_t count, double* values) const {
    for (std::size_t i = 0; i < count; ++i) values[i] = function(logits[i]);
  }
};
template <class Function>
Each(Function) -> Each<Function>;

/// Drops the candidates for which keep(logit, id) is false; the others stay in order. keep must
/// hold for at least one. [any-thread]
template <class Keep>
void keep_if(Candidates& candidates, Keep keep) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < candidates.count; ++i) {
    const float logit = candidates.logits[i];
    const std::int32_t id = candidates.ids[i];
    candidates.logits[kept] = logit;
    candidates.ids[kept] = id;
    kept += keep(logit, id) ? 1 : 0;
  }
  if (kept != candidates.count) candidates.is_indexed = false;
  candidates.count = kept;
}

/// A place in a ranking of candidates by ascending key, equal keys by ascending id.
struct Rank {
  double key;
  std::int32_t id;
};

/// A ranking of candidates: key(logit) orders them, `lowest` is at most every key, and `weights`
/// computes what each counts.
template <class Key, class Weights>
struct Ranking {
  Key key;
  double lowest;
  Weights weights;
};
template <class Key, class Weights>
Ranking(Key, double, Weights) -> Ranking<Key, Weights>;

/// Keys are sorted into this many bins of 1/64 nat; the last one takes all beyond 64 nats, where
/// weights are below 1e-27.
constexpr std::size_t kBins = 4096;
constexpr double kBinsPerNat = 64;

inline std::size_t bin_of(double key, double lowest) {
  return static_cast<std::size_t>(
      std::min((key - lowest) * kBinsPerNat, static_cast<double>(kBins - 1)));
}

/// Rank of the first candidate at which the weights of the ranking, summed from its start, satisfy
/// reached(sum); the last one of all where they never do. Sorts only the candidates around it, so
/// time is linear in their number unless very many are nearly equal. [any-thread]
template <class Key, class Weights, class Reached>
Rank find_rank(const Candidates& candidates, const Ranking<Key, Weights>& ranking,
               Reached reached) {
  struct Entry {
    Rank rank;
    double weight;
  };
  std::vector<double> bins(kBins, 0.0);
  std::size_t last_bin = 0;
  for_blocks(candidates, ranking.weights, [&](std::size_t first, std::span<const double> weights) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double key = ranking.key(candidates.logits[first + i]);
      const std::size_t bin = bin_of(key, ranking.lowest);
      bins[bin] += weights[i];
      last_bin = std::max(last_bin, bin);
    }
  });
  double sum = 0;
  std::size_t edge = 0;
  for (; edge < last_bin && !reached(sum + bins[edge]); ++edge) sum += bins[edge];

  std::vector<Entry> entries;
  for (std::size_t i = 0; i < candidates.count; ++i) {
    const float logit = candidates.logits[i];
    const double key = ranking.key(logit);
    if (bin_of(key, ranking.lowest) != edge) continue;
    Entry entry{{key, candidates.ids[i]}, 0};
    ranking.weights(&logit, 1, &entry.weight);
    entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.rank.key != b.rank.key ? a.rank.key < b.rank.key : a.rank.id < b.rank.id;
  });
  for (const Entry& entry : entries) {
    sum += entry.weight;
    if (reached(sum)) return entry.rank;
  }
  return entries.back().rank;
}

/// Keeps the candidates up to `last` of a ranking by `key`. [any-thread]
template <class Key>
void keep_up_to(Candidates& candidates, Key key, const Rank& last) {
  keep_if(candidates, [&](float logit, std::int32_t id) {
    const double own = key(logit);
    return own < last.key || (own == last.key && id <= last.id);
  });
}

/// Rank, by descending logit, of the k-th candidate, k at least 1; of the last one where there are
/// fewer. `largest` is the largest logit. [any-thread]
Rank rank_of_largest(const Candidates& candidates, std::size_t k, float largest);

/// Keeps the k largest logits, k at least 1; of equal ones those with the lowest ids. [any-thread]
void keep_largest(Candidates& candidates, std::size_t k, float largest);

/// What was drawn, and its softmax probability among the candidates.
struct Drawn {
  std::int32_t id;
  double probability;
};

/// Draws from the softmax by the inverse of its distribution function, summed in the order of the
/// candidates, at `uniform` in [0, 1). Never a candidate of probability 0. [any-thread]
Drawn draw_from(const Candidates& candidates, float largest, double uniform);

}  // namespace quiver::samplers
