// How many tokens to draft: as many as give most tokens a second.
#pragma once

#include "core/decode/decode_statistics.hpp"

namespace quiver {

/// Chooses the rows of a round, the newest token included: 1 is plain decoding. A round of n rows
/// costs a pass that drafts and one that verifies, both of n rows, and gives the tokens that
/// AcceptanceRates expect. Plain decoding is left now and then for a round, as long as what such
/// trials have cost stays below a small share of all decoding. [one-call-at-a-time]
class DraftLength {
 public:
  static constexpr int kMaxRows = 16;

  /// `fixed` rows, or 0 to adapt. `statistics` outlives the object.
  DraftLength(DecodeStatistics& statistics, int fixed) : statistics_(&statistics), fixed_(fixed) {}

  /// Rows of the next round, from 1 to `most`. `texts`: how many share the passes.
  int choose(int most, int texts);

  /// A verification of `rows` rows gave `tokens` tokens; `is_cut` where the text ended in it.
  void learn(int rows, int tokens, bool is_cut);

 private:
  double round_seconds(int rows, int texts) const;
  bool may_try(double seconds, double plain) const;

  DecodeStatistics* statistics_;
  int fixed_;
};

}  // namespace quiver
