// Lengths of drafts: when drafting pays it is found out soon, and when it does not it costs little.
#include <gtest/gtest.h>

#include <random>

#include "core/decode/draft_length.hpp"
#include "core/decode/drafter.hpp"

namespace quiver::test {
namespace {

/// A machine where each row beyond the first costs `slope` of a pass of one row, and a model whose
/// drafts come true with a given probability each.
struct Machine {
  double slope;
  double rate;
  double noise = 0;
  std::mt19937 random{1};

  double pass(int rows) {
    std::normal_distribution<double> wobble(1, noise);
    const double seconds = 1e-3 * (1 + slope * (rows - 1));
    return noise == 0 ? seconds : seconds * std::max(0.5, wobble(random));
  }
};

/// One whose drafts take a pass of as many rows as the verification.
const Drafter& blocks() {
  static const std::unique_ptr<Drafter> drafter = make_block_drafter(0, 32, false);
  return *drafter;
}

/// Decodes `tokens` tokens; returns the time that took beside that of plain decoding.
double relative_time(Machine& machine, int tokens, DecodeStatistics& statistics, int fixed = 0) {
  DraftLength length(statistics, &blocks(), fixed);
  std::bernoulli_distribution comes_true(machine.rate);
  double total = 0;
  for (int left = tokens; left > 0;) {
    const int rows = length.choose(left, 1);
    EXPECT_GE(rows, 1);
    EXPECT_LE(rows, left);
    if (rows > 1) {
      const double draft = machine.pass(rows);
      statistics.costs.record(true, rows, PassCosts::Duration(draft));
      total += draft;
    }
    const double verify = machine.pass(rows);
    statistics.costs.record(false, rows, PassCosts::Duration(verify));
    total += verify;
    int got = 1;
    while (got < rows && comes_true(machine.random)) ++got;
    length.learn(rows, got, false);
    left -= got;
  }
  return total / (1e-3 * tokens);
}

TEST(DraftLength, costs_at_most_three_percent_where_drafts_never_come_true) {
  for (const double slope : {0.05, 0.2, 0.5, 1.0}) {
    for (const double noise : {0.0, 0.1}) {
      Machine machine{slope, 0, noise};
      DecodeStatistics statistics;
      EXPECT_LE(relative_time(machine, 256, statistics), 1.03) << slope << " " << noise;
      EXPECT_LE(relative_time(machine, 4000, statistics), 1.03) << slope << " " << noise;
    }
  }
}

TEST(DraftLength, costs_at_most_three_percent_where_drafts_hardly_pay) {
  // Each draft comes true half of the time, and passes of more rows are dear.
  for (const double rate : {0.3, 0.5}) {
    Machine machine{0.5, rate, 0.05};
    DecodeStatistics statistics;
    EXPECT_LE(relative_time(machine, 2000, statistics), 1.03) << rate;
  }
}

TEST(DraftLength, finds_a_length_near_the_best_where_drafts_pay) {
  for (const double rate : {0.8, 0.9, 0.97}) {
    for (const double slope : {0.02, 0.1}) {
      double best = 1;
      for (int rows = 2; rows <= 1 + blocks().most_drafts(); ++rows) {
        double tokens = 1;
        double reached = 1;
        for (int i = 1; i < rows; ++i) tokens += reached *= rate;
        best = std::min(best, 2 * (1 + slope * (rows - 1)) / tokens);
      }
      Machine machine{slope, rate};
      DecodeStatistics statistics;
      const double got = relative_time(machine, 2000, statistics);
      EXPECT_LE(got, best * 1.15) << rate << " " << slope << ", best " << best;
    }
  }
}

TEST(DraftLength, what_one_text_taught_serves_the_next) {
  Machine machine{0.05, 0.95};
  DecodeStatistics statistics;
  relative_time(machine, 500, statistics);
  DraftLength next(statistics, &blocks(), 0);
  EXPECT_GT(next.choose(100, 1), 4);
}

TEST(DraftLength, a_fixed_length_is_kept_up_to_what_is_left) {
  DecodeStatistics statistics;
  DraftLength length(statistics, &blocks(), 8);
  EXPECT_EQ(length.choose(100, 1), 8);
  EXPECT_EQ(length.choose(3, 1), 3);
  EXPECT_EQ(length.choose(0, 1), 1);
}

TEST(DraftLength, without_a_drafter_is_one) {
  DecodeStatistics statistics;
  DraftLength length(statistics, nullptr, 8);
  EXPECT_EQ(length.choose(100, 1), 1);
}

TEST(DraftLength, many_texts_in_a_pass_draft_less) {
  Machine machine{0.1, 0.85};
  DecodeStatistics statistics;
  for (const int rows : {1, 2, 4, 8, 16, 32, 64, 128}) {
    statistics.costs.record(false, rows, PassCosts::Duration(machine.pass(rows)));
    statistics.costs.record(true, rows, PassCosts::Duration(machine.pass(rows)));
  }
  relative_time(machine, 500, statistics);
  DraftLength length(statistics, &blocks(), 0);
  EXPECT_GT(length.choose(100, 1), 1);
  EXPECT_LT(length.choose(100, 16), length.choose(100, 1));
}

TEST(PassCosts, interpolate_between_what_was_measured) {
  PassCosts costs;
  EXPECT_EQ(costs.seconds(false, 4), 0);
  costs.record(false, 1, PassCosts::Duration(1));
  EXPECT_GT(costs.seconds(false, 4), 1);
  EXPECT_LT(costs.seconds(false, 4), 2);
  costs.record(false, 9, PassCosts::Duration(3));
  EXPECT_DOUBLE_EQ(costs.seconds(false, 5), 2);
  EXPECT_DOUBLE_EQ(costs.seconds(false, 13), 4);
  EXPECT_DOUBLE_EQ(costs.seconds(true, 5), 2) << "drafts count as others until one was measured";
  costs.record(true, 5, PassCosts::Duration(1.5));
  EXPECT_DOUBLE_EQ(costs.seconds(true, 5), 1.5);
  EXPECT_TRUE(costs.has(true, 5));
  EXPECT_FALSE(costs.has(false, 5));
  // One pass that was held up counts for little, and a faster one for more.
  costs.record(false, 1, PassCosts::Duration(100));
  EXPECT_LT(costs.seconds(false, 1), 1.3);
}

}  // namespace
}  // namespace quiver::test
