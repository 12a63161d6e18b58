// How many tokens to draft: as many as give most tokens a second.
#include "core/decode/draft_length.hpp"

#include <algorithm>
#include <array>

#include "core/decode/drafter.hpp"

namespace quiver {
namespace {

constexpr std::array kChoices{2, 3, 4, 5, 6, 8, 10, 12, 16};
// Plain passes before the first trial, so that its cost is known.
constexpr double kPlainPasses = 2;
// Trials may cost this share of all decoding, and this many plain passes more.
constexpr double kTrialShare = 0.015;
constexpr double kFirstTrials = 2;
// A longer round must promise this much more, because its figures are less certain.
constexpr double kWorthIt = 1.02;

}  // namespace

double DraftLength::round_seconds(int rows, int texts) const {
  const PassCosts& costs = statistics_->costs;
  const double verify = costs.seconds(false, rows * texts);
  return rows == 1 ? verify : verify + drafter_->seconds(*statistics_, rows - 1, texts);
}

bool DraftLength::may_try(double seconds, double plain) const {
  const double lost = statistics_->trial_seconds + seconds - plain;
  return lost <= kTrialShare * statistics_->decode_seconds + kFirstTrials * plain;
}

int DraftLength::choose(int most, int texts) {
  if (drafter_ == nullptr) return 1;
  most = std::max(1, std::min(most, PassCosts::kMaxRows / std::max(1, texts)));
  if (fixed_ != 0) return std::min(fixed_, most);
  const double plain = round_seconds(1, texts);
  if (statistics_->decode_seconds < kPlainPasses * plain || plain == 0) return 1;
  int best = 1;
  double best_rate = 1 / plain;
  for (const int rows : kChoices) {
    if (rows > std::min(most, 1 + drafter_->most_drafts())) break;
    const double rate =
        drafter_->rates(*statistics_).expected_tokens(rows - 1) / round_seconds(rows, texts);
    if (rate > best_rate * kWorthIt) {
      best = rows;
      best_rate = rate;
    }
  }
  const int trial = std::min(1 + drafter_->trial_drafts(), most);
  if (best == 1 && trial > 1 && may_try(round_seconds(trial, texts), plain)) return trial;
  return best;
}

void DraftLength::learn(int rows, int tokens, bool is_cut) {
  const double seconds = round_seconds(rows, 1);
  statistics_->decode_seconds += seconds;
  if (rows == 1) return;
  // Drafts behind the end of a text were not judged.
  drafter_->rates(*statistics_).add(is_cut ? tokens - 1 : rows - 1, tokens - 1);
  statistics_->trial_seconds =
      std::max(0.0, statistics_->trial_seconds + seconds - tokens * round_seconds(1, 1));
}

}  // namespace quiver
