// Checks, cuts and draws that several samplers use.
#include "candidates.hpp"

#include <cmath>
#include <string>

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

void keep_largest(Candidates& candidates, std::size_t k, float largest) {
  if (k >= candidates.count) return;
  const auto key = [](float logit) { return -static_cast<double>(logit); };
  const auto one = [](float) { return 1.0; };
  const double needed = static_cast<double>(k);
  const Rank last = find_rank(candidates, Ranking{key, key(largest), one},
                              [=](double count) { return count >= needed; });
  keep_up_to(candidates, key, last);
}

Drawn draw_from(const Candidates& candidates, float largest, double uniform) {
  const auto weight = [=](float logit) { return weight_of(logit, largest); };
  const double total = total_of(candidates, weight);
  const double target = uniform * total;
  Drawn drawn{-1, 0};
  double before = 0;
  bool is_found = false;
  for_blocks(candidates, weight, [&](std::size_t first, std::span<const double> weights) {
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
