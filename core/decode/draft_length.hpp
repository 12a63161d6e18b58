// How many tokens to draft: as many as give most tokens a second.
#pragma once

#include "core/decode/decode_statistics.hpp"

namespace quiver {

class Drafter;

/// Chooses the rows of a round, the newest token included: 1 is plain decoding. A round of n rows
/// costs what drafting n - 1 tokens takes and a pass of n rows that verifies, and gives the tokens
/// that AcceptanceRates expect. Plain decoding is left now and then for a round, as long as what
/// such trials have cost stays below a small share of all decoding. [one-call-at-a-time]
class DraftLength {
 public:
  /// `drafter` may be nullptr: plain decoding. `fixed` rows, or 0 to adapt. All outlive the object.
  DraftLength(DecodeStatistics& statistics, const Drafter* drafter, int fixed)
      : statistics_(&statistics), drafter_(drafter), fixed_(fixed) {}

  /// Rows of the next round, from 1 to `most`. `texts`: how many share the passes.
  int choose(int most, int texts);

  /// A verification of `rows` rows gave `tokens` tokens; `is_cut` where the text ended in it.
  /// A drafter may have filled fewer rows than choose() gave.
  void learn(int rows, int tokens, bool is_cut);

 private:
  double round_seconds(int rows, int texts) const;
  bool may_try(double seconds, double plain) const;

  DecodeStatistics* statistics_;
  const Drafter* drafter_;
  int fixed_;
};

}  // namespace quiver
