// Pins, protection, floors and refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <quiver/error.hpp>

#include "core/quantize/allocation.hpp"
#include "tests/quantize/problems.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;

/// Two blocks of three layers and a head.
AllocationProblem small_problem() {
  AllocationProblem problem;
  const double kl[] = {0.3, 0.1, 0.2, 0.02, 0.03, 0.01, 0.05};
  const char* names[] = {"layers.0.q", "layers.0.k",  "layers.0.up", "layers.1.q",
                         "layers.1.k", "layers.1.up", "head"};
  for (std::size_t u = 0; u < 7; ++u) {
    AllocationUnit made = unit(names[u], 1024, {});
    made.block = u == 6 ? -1 : static_cast<int>(u / 3);
    for (const int bits : {2, 4, 8}) {
      made.choices.push_back({bits, 64, stored_bytes(1024, bits, 64).value(), kl[u] / bits});
    }
    problem.units.push_back(made);
  }
  return problem;
}

std::vector<int> bits(const AllocationProblem& problem, const Allocation& allocation) {
  std::vector<int> all;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    all.push_back(problem.units[u].choices[allocation.choices[u]].bits);
  }
  return all;
}

template <class Run>
Error caught(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::internal, "");
}

TEST(AllocationRules, pins_and_protection_hold_and_the_last_pin_wins) {
  const AllocationProblem problem = small_problem();
  AllocationRules rules;
  rules.protect = {"*.up"};
  rules.pins = {{"layers.0.*", 2}, {"layers.0.q", 4}};
  const auto found = bits(problem, allocate_exact(problem, rules, 5));
  EXPECT_EQ(found[0], 4);
  EXPECT_EQ(found[1], 2);
  EXPECT_EQ(found[2], 2);  // pinned, though protected
  EXPECT_EQ(found[5], 8);
}

TEST(AllocationRules, the_rest_is_optimal_under_the_rules) {
  const AllocationProblem problem = small_problem();
  AllocationRules rules;
  rules.pins = {{"layers.1.*", 8}};
  const Allocation found = allocate_exact(problem, rules, 5.2);
  double best = 1e9;
  for (int code = 0; code < 81; ++code) {
    std::vector<std::size_t> choices(7, 2);
    int rest = code;
    for (const std::size_t u : {0U, 1U, 2U, 6U}) {
      choices[u] = static_cast<std::size_t>(rest % 3);
      rest /= 3;
    }
    const Allocation tried = evaluate(problem, choices);
    if (tried.bpw_true <= 5.2) best = std::min(best, tried.kl);
  }
  EXPECT_NEAR(found.kl, best, 1e-12);
  EXPECT_LE(found.bpw_true, 5.2);
}

TEST(AllocationRules, the_floor_lifts_the_layers_that_lose_most_in_every_block) {
  const AllocationProblem problem = small_problem();
  AllocationRules rules;
  rules.floor_per_block = 2;
  const auto found = bits(problem, allocate_exact(problem, rules, 3.65));
  EXPECT_GE(found[0], 4);
  EXPECT_GE(found[2], 4);
  EXPECT_GE(found[3], 4);
  EXPECT_GE(found[4], 4);
  rules.pins = {{"layers.1.up", 4}};  // counts: only one more is lifted in its block
  const auto allowed = allowed_choices(problem, rules);
  EXPECT_EQ(allowed[3].size(), 3U);
  EXPECT_EQ(allowed[4].size(), 2U);
  EXPECT_EQ(allowed[6].size(), 3U);  // in no block
}

TEST(AllocationRules, a_target_below_the_least_size_names_the_least_target) {
  const AllocationProblem problem = small_problem();
  AllocationRules rules;
  rules.floor_per_block = 2;
  const Error error = caught([&] { allocate_exact(problem, rules, 3.0); });
  EXPECT_EQ(error.code(), ErrorCode::usage);
  EXPECT_THAT(error.what(), HasSubstr("target below what the floor allows: at least 3.6429 bpw"));
  EXPECT_NO_THROW(allocate_exact(problem, rules, 3.6429));
  EXPECT_NO_THROW(allocate_exact(problem, {}, 2.5));
  EXPECT_THROW(allocate_exact(problem, {}, -1), Error);
  EXPECT_THROW(allocate_exact(problem, {}, std::numeric_limits<double>::quiet_NaN()), Error);
}

TEST(AllocationRules, rules_that_fit_nothing_are_refused) {
  const AllocationProblem problem = small_problem();
  AllocationRules rules;
  rules.pins = {{"*.gate", 8}};
  EXPECT_THAT(caught([&] { allocate_exact(problem, rules, 5); }).what(),
              HasSubstr("'*.gate' matches no layer (--pin)"));
  rules.pins = {{"head", 3}};
  const Error error = caught([&] { allocate_exact(problem, rules, 5); });
  EXPECT_EQ(error.code(), ErrorCode::usage);
  EXPECT_THAT(error.what(), HasSubstr("'head' has no choice of 3 bits"));
  EXPECT_THAT(error.what(), HasSubstr("2, 4, 8"));
  rules.pins.clear();
  rules.protect = {"nothing"};
  EXPECT_THAT(caught([&] { allocate_exact(problem, rules, 5); }).what(), HasSubstr("--protect"));
}

TEST(AllocationRules, what_was_not_measured_is_named_with_its_width) {
  AllocationProblem problem = small_problem();
  problem.units[4].choices[1].kl = std::numeric_limits<double>::quiet_NaN();
  Error error = caught([&] { allocate_exact(problem, {}, 5); });
  EXPECT_EQ(error.code(), ErrorCode::bad_input);
  EXPECT_THAT(error.what(), HasSubstr("not measured at 4 bits (layers.1.k)"));
  problem.units[4].choices[1].kl = -std::numeric_limits<double>::infinity();
  error = caught([&] { allocate_exact(problem, {}, 5); });
  EXPECT_THAT(error.what(), HasSubstr("the KL at 4 bits is -inf (layers.1.k)"));
}

TEST(AllocationRules, malformed_problems_are_refused) {
  const auto refusal = [](auto change) {
    AllocationProblem problem = small_problem();
    change(problem);
    return std::string(caught([&] { allocate_exact(problem, {}, 5); }).what());
  };
  EXPECT_THAT(refusal([](auto& p) { p.units.clear(); }), HasSubstr("no layer"));
  EXPECT_THAT(refusal([](auto& p) { p.units[1].choices.clear(); }), HasSubstr("no width"));
  EXPECT_THAT(refusal([](auto& p) { p.units[1].name = "head"; }), HasSubstr("one name"));
  EXPECT_THAT(refusal([](auto& p) { p.units[1].parameters = 0; }), HasSubstr("size"));
  EXPECT_THAT(refusal([](auto& p) { p.units[1].parameters = UINT64_MAX; }), HasSubstr("size"));
  EXPECT_THAT(refusal([](auto& p) { p.units[1].choices[0].bytes = UINT64_MAX; }),
              HasSubstr("size"));
  EXPECT_THAT(refusal([](auto& p) { p.fixed_bytes = UINT64_MAX; }), HasSubstr("size"));
  EXPECT_THAT(refusal([](auto& p) { p.units[1].choices[1].bits = 2; }), HasSubstr("ascending"));
}

}  // namespace
}  // namespace quiver::test
