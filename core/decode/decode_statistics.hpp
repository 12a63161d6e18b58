// What decoding has measured: times of passes, and how much of what was guessed came true.
#pragma once

#include <array>

#include "core/decode/pass_costs.hpp"

namespace quiver {

/// How many drafted tokens came true, older rounds counting less and less. [one-call-at-a-time]
class AcceptanceRates {
 public:
  static constexpr int kMaxDrafts = 31;

  /// A round of `drafts` tokens of which the first `accepted` came true.
  void add(int drafts, int accepted);

  /// Tokens that a verification with so many drafts gives on average: 1 + a1 + a1 a2 + .., where ai
  /// is the share of i-th drafts that came true among those reached.
  double expected_tokens(int drafts) const;

 private:
  struct Rate {
    double reached = 0;
    double accepted = 0;
  };
  std::array<Rate, kMaxDrafts> rates_{};
};

/// How fast canvases fill in, by their length, older ones counting less and less.
/// [one-call-at-a-time]
class CanvasRates {
 public:
  /// A canvas of `length` positions that took so many steps.
  void add(int length, double steps);

  /// Steps that a canvas of that length takes, or 0 where nothing is known.
  double steps(int length) const;

 private:
  struct Entry {
    int length;
    double steps;
  };
  std::vector<Entry> entries_;
};

/// Of one engine.
struct DecodeStatistics {
  PassCosts costs;       ///< Of the model's passes.
  PassCosts head_costs;  ///< Of its draft head's.
  AcceptanceRates block_drafts;
  AcceptanceRates head_drafts;
  AcceptanceRates ngram_drafts;
  CanvasRates canvases;
  /// Time of decoding passes, and that part of it which trying drafts out has cost; seconds.
  double decode_seconds = 0;
  double trial_seconds = 0;
};

}  // namespace quiver
