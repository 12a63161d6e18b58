// Checks, cuts and draws that several samplers use.
#include "candidates.hpp"

#include <cmath>
#include <string>

// The same source for wider vectors, chosen when the library is loaded. Only the width differs: no
// operation is fused or reordered, so the bits are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define QUIVER_WIDER __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define QUIVER_WIDER
#endif

namespace quiver::samplers {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

[[noreturn]] void refuse(const Candidates& candidates, std::string_view sampler) {
  const std::string where = "sampler " + std::string(sampler);
  for (std::size_t i = 0; i < candidates.count; ++i) {
    const float logit = candidates.logits[i];
    if (logit < kInfinity) continue;
    throw Error(ErrorCode::bad_input,
                "the logit of token " + std::to_string(candidates.ids[i]) +
                    (std::isnan(logit) ? " is NaN" : " is +infinity"),
                where, "the model's weights or an earlier sampler are at fault");
  }
  throw Error(ErrorCode::bad_input, "no token is possible, every logit is -infinity", where,
              "loosen the grammar, the biases or the samplers before it");
}

}  // namespace

float largest_logit(const Candidates& candidates, std::string_view sampler) {
  // Lanes instead of one running maximum, which compilers would not vectorize.
  constexpr std::size_t kLanes = 16;
  std::array<float, kLanes> largest;
  std::array<std::int32_t, kLanes> bad{};
  largest.fill(-kInfinity);
  const float* logits = candidates.logits;
  std::size_t i = 0;
  for (; i + kLanes <= candidates.count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float logit = logits[i + lane];
      largest[lane] = logit > largest[lane] ? logit : largest[lane];
      bad[lane] |= logit < kInfinity ? 0 : 1;
    }
  }
  for (; i < candidates.count; ++i) {
    largest[0] = std::max(largest[0], logits[i]);
    bad[0] |= logits[i] < kInfinity ? 0 : 1;
  }
  const float top = *std::max_element(largest.begin(), largest.end());
  const bool is_bad = std::any_of(bad.begin(), bad.end(), [](std::int32_t b) { return b != 0; });
  if (is_bad || top == -kInfinity) refuse(candidates, sampler);
  return top;
}

QUIVER_WIDER void SoftmaxWeights::operator()(const float* logits, std::size_t count,
                                             double* weights) const {
  for (std::size_t i = 0; i < count; ++i) {
    weights[i] = exp_of(static_cast<double>(logits[i]) - largest);
  }
}

QUIVER_WIDER void WeightedLogits::operator()(const float* logits, std::size_t count,
                                             double* values) const {
  for (std::size_t i = 0; i < count; ++i) {
    const double relative = static_cast<double>(logits[i]) - largest;
    // -infinity counts nothing, and times zero it would not be zero.
    const double bounded = relative < -1000 ? -1000 : relative;
    values[i] = bounded * exp_of(bounded);
  }
}

Rank rank_of_largest(const Candidates& candidates, std::size_t k, float largest) {
  const auto key = [](float logit) { return -static_cast<double>(logit); };
  const Each one{[](float) { return 1.0; }};
  const auto needed = static_cast<double>(k);
  return find_rank(candidates, Ranking{key, key(largest), one},
                   [=](double count) { return count >= needed; });
}

void keep_largest(Candidates& candidates, std::size_t k, float largest) {
  if (k >= candidates.count) return;
  const Rank last = rank_of_largest(candidates, k, largest);
  keep_up_to(
      candidates, [](float logit) { return -static_cast<double>(logit); }, last);
}

Drawn draw_from(const Candidates& candidates, float largest, double uniform) {
  const SoftmaxWeights softmax{largest};
  const double total = total_of(candidates, softmax);
  const double target = uniform * total;
  Drawn drawn{-1, 0};
  double before = 0;
  bool is_found = false;
  for_blocks(candidates, softmax, [&](std::size_t first, std::span<const double> weights) {
    const double after = before + sum_of(weights.data(), weights.size());
    if (is_found || after <= target) {
      before = after;
      return;
    }
    is_found = true;
    // The walk sums in another order than `after`: where rounding lets it run out, the last
    // candidate with any weight is the one.
    for (std::size_t i = 0; i < weights.size() && before <= target; ++i) {
      if (weights[i] == 0) continue;
      before += weights[i];
      drawn = {candidates.ids[first + i], weights[i] / total};
    }
  });
  return drawn;
}

}  // namespace quiver::samplers
