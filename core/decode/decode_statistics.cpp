// What decoding has measured: times of passes, and how much of what was guessed came true.
#include "core/decode/decode_statistics.hpp"

#include <algorithm>

namespace quiver {
namespace {

constexpr double kDecay = 0.97;     // of an older round's weight
constexpr double kPriorRounds = 2;  // how many rounds the guess before the first one weighs
constexpr double kPriorRate = 0.6;
constexpr double kCanvasWeight = 0.25;

}  // namespace

void AcceptanceRates::add(int drafts, int accepted) {
  for (int i = 0; i < std::min({drafts, accepted + 1, kMaxDrafts}); ++i) {
    Rate& rate = rates_[static_cast<std::size_t>(i)];
    rate.reached = rate.reached * kDecay + 1;
    rate.accepted = rate.accepted * kDecay + (i < accepted ? 1 : 0);
  }
}

double AcceptanceRates::expected_tokens(int drafts) const {
  double tokens = 1;
  double reached = 1;
  double guess = kPriorRate;
  for (int i = 0; i < std::min(drafts, kMaxDrafts); ++i) {
    // A place that was hardly ever reached is taken to be like the one before it.
    const Rate& rate = rates_[static_cast<std::size_t>(i)];
    guess = (rate.accepted + kPriorRounds * guess) / (rate.reached + kPriorRounds);
    reached *= guess;
    tokens += reached;
  }
  return tokens;
}

void CanvasRates::add(int length, double steps) {
  const auto at = std::ranges::find(entries_, length, &Entry::length);
  if (at == entries_.end()) {
    entries_.push_back({length, steps});
  } else {
    at->steps += kCanvasWeight * (steps - at->steps);
  }
}

double CanvasRates::steps(int length) const {
  const auto at = std::ranges::find(entries_, length, &Entry::length);
  return at == entries_.end() ? 0 : at->steps;
}

}  // namespace quiver
