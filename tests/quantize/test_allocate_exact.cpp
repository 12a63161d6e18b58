// The exact allocator against trying everything, and at sizes where nobody could.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <quiver/error.hpp>

#include "core/quantize/allocate_greedy.hpp"
#include "core/quantize/allocation.hpp"
#include "tests/quantize/problems.hpp"

namespace quiver::test {
namespace {

double target_of(const AllocationProblem& problem, double between) {
  double low = 0, high = 0, parameters = static_cast<double>(problem.fixed_parameters);
  for (const AllocationUnit& u : problem.units) {
    low += static_cast<double>(u.choices.front().bytes);
    high += static_cast<double>(u.choices.back().bytes);
    parameters += static_cast<double>(u.parameters);
  }
  const auto fixed = static_cast<double>(problem.fixed_bytes);
  return (low + between * (high - low) + fixed) * 8 / parameters + 1e-9;
}

/// Least sum of KLs within the budget, by trying all combinations.
double brute_force(const AllocationProblem& problem, std::uint64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> choices(problem.units.size(), 0);
  for (;;) {
    const Allocation tried = evaluate(problem, choices);
    if (tried.bytes <= budget + problem.fixed_bytes) best = std::min(best, tried.kl);
    std::size_t u = 0;
    while (u < choices.size() && ++choices[u] == problem.units[u].choices.size()) choices[u++] = 0;
    if (u == choices.size()) return best;
  }
}

std::uint64_t budget_of(const AllocationProblem& problem, double target) {
  return unit_budget(problem, allowed_choices(problem, {}), target);
}

TEST(AllocateExact, finds_what_trying_everything_finds) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    RandomShape shape;
    shape.units = 1 + seed % 5;
    shape.size_step = seed % 3 == 0 ? 512 : 1;
    shape.noise = seed % 4;
    AllocationProblem problem = random_problem(seed, shape);
    problem.fixed_bytes = seed * 100;
    problem.fixed_parameters = seed * 50;
    for (const double between : {0.0, 0.1, 0.37, 0.6, 0.95, 1.0}) {
      const double target = target_of(problem, between);
      const Allocation found = allocate_exact(problem, {}, target);
      EXPECT_TRUE(found.is_optimal);
      const double best = brute_force(problem, budget_of(problem, target));
      EXPECT_NEAR(found.kl, best, 1e-12 * std::abs(best)) << seed << " at " << between;
      EXPECT_LE(found.bytes, budget_of(problem, target) + problem.fixed_bytes);
    }
  }
}

TEST(AllocateExact, finds_it_where_widths_gain_or_lose_in_any_order) {
  std::mt19937 random(9);
  std::uniform_int_distribution<int> whole(-4, 4);
  for (int round = 0; round < 200; ++round) {
    AllocationProblem problem;
    for (int u = 0; u < 5; ++u) {
      std::vector<AllocationChoice> choices;
      for (int bits = 2; bits < 6; ++bits) {
        choices.push_back(
            {bits, 64, static_cast<std::uint64_t>(whole(random) + 5), 0.25 * whole(random)});
      }
      problem.units.push_back(unit("unit" + std::to_string(u), 8, choices));
    }
    const double target = 4 + 0.1 * round / 10;
    double best = std::numeric_limits<double>::infinity();
    try {
      best = brute_force(problem, budget_of(problem, target));
    } catch (const Error&) {
      continue;
    }
    EXPECT_DOUBLE_EQ(allocate_exact(problem, {}, target).kl, best) << round;
  }
}

TEST(AllocateExact, is_exact_and_bounded_for_four_hundred_awkward_units) {
  for (std::uint32_t seed = 0; seed < 3; ++seed) {
    RandomShape shape;
    shape.units = 400;
    const AllocationProblem problem = random_problem(100 + seed, shape);
    for (const double between : {0.05, 0.2, 0.5}) {
      const double target = target_of(problem, between);
      const Allocation found = allocate_exact(problem, {}, target);
      EXPECT_TRUE(found.is_optimal);
      EXPECT_EQ(found.grain_bytes, 0U);
      EXPECT_LE(found.most_states, 20'000U);
      EXPECT_LE(found.bytes, budget_of(problem, target));
      const Allocation greedy = allocate_greedy(problem, {target - 0.5, 0});
      if (greedy.bytes <= budget_of(problem, target)) {
        EXPECT_LE(found.kl, greedy.kl);
      }
    }
  }
}

TEST(AllocateExact, is_exact_for_a_model_whose_blocks_are_alike_in_size) {
  std::mt19937 random(3);
  std::lognormal_distribution<double> height(0, 1.5);
  AllocationProblem problem;
  const std::uint64_t sizes[] = {331776, 110592, 110592, 331776, 884736, 884736, 884736};
  for (std::size_t u = 0; u < 210; ++u) {
    AllocationUnit made = unit("unit" + std::to_string(u), sizes[u % 7], {});
    const double scale = height(random);
    for (const int bits : {2, 3, 4, 5, 6, 8, 16}) {
      made.choices.push_back({bits, 64, stored_bytes(made.parameters, bits, 64).value(),
                              bits == 16 ? 0 : scale * std::exp2(-1.9 * bits)});
    }
    problem.units.push_back(made);
  }
  for (const double target : {3.1, 4.5, 5.0}) {
    const Allocation found = allocate_exact(problem, {}, target);
    EXPECT_TRUE(found.is_optimal);
    EXPECT_LE(found.bpw_true, target);
  }
}

/// Loss falls by the same amount for every byte: nothing can be pruned but by size.
AllocationProblem proportional_problem() {
  RandomShape shape;
  shape.units = 60;
  AllocationProblem problem = random_problem(77, shape);
  for (AllocationUnit& u : problem.units) {
    for (AllocationChoice& choice : u.choices) {
      choice.kl =
          1e-9 * (static_cast<double>(u.choices.back().bytes) - static_cast<double>(choice.bytes));
    }
  }
  return problem;
}

TEST(AllocateExact, bounds_its_states_and_says_what_that_may_cost) {
  const AllocationProblem problem = proportional_problem();
  const Allocation found = allocate_exact(problem, {}, target_of(problem, 0.4));
  EXPECT_LE(found.most_states, std::size_t{8} << 16U);
  EXPECT_LE(found.kl_bound, found.kl * (1 + 1e-12));
  EXPECT_GE(found.kl_bound, found.kl * (1 - 1e-6));
  EXPECT_GT(found.grain_bytes, 0U);
  EXPECT_FALSE(found.is_optimal);
}

TEST(AllocateExact, gives_the_same_result_again_and_the_wider_of_equals_first) {
  AllocationProblem problem;
  for (int u = 0; u < 6; ++u) {
    problem.units.push_back(
        unit("layer" + std::to_string(u), 64, {{4, 64, 36, 1}, {8, 64, 68, 0}}));
  }
  const Allocation found = allocate_exact(problem, {}, (3 * 36 + 3 * 68) * 8 / 384.0);
  EXPECT_EQ(found.choices, (std::vector<std::size_t>{1, 1, 1, 0, 0, 0}));
  const Allocation again = allocate_exact(problem, {}, (3 * 36 + 3 * 68) * 8 / 384.0);
  EXPECT_EQ(found.choices, again.choices);
  EXPECT_DOUBLE_EQ(found.kl, 3);
}

TEST(AllocateExact, takes_gains_measured_against_a_uniform_quantization) {
  AllocationProblem problem;
  problem.units.push_back(unit("a", 64, {{4, 64, 36, 0}, {8, 64, 68, -0.3}}));
  problem.units.push_back(unit("b", 64, {{4, 64, 36, 0}, {8, 64, 68, -0.5}}));
  const Allocation found = allocate_exact(problem, {}, (36 + 68) * 8 / 128.0);
  EXPECT_EQ(found.choices, (std::vector<std::size_t>{0, 1}));
  EXPECT_DOUBLE_EQ(found.kl, -0.5);
}

TEST(AllocateExact, counts_everything_that_is_written_against_the_target) {
  AllocationProblem problem;
  problem.units.push_back(unit("a", 64, {{4, 64, 36, 1}, {8, 64, 68, 0}}));
  problem.fixed_bytes = 32;
  problem.fixed_parameters = 16;
  EXPECT_EQ(allocate_exact(problem, {}, 100 * 8 / 80.0).choices.front(), 1U);
  const Allocation tight = allocate_exact(problem, {}, 99 * 8 / 80.0);
  EXPECT_EQ(tight.choices.front(), 0U);
  EXPECT_EQ(tight.bytes, 68U);
  EXPECT_DOUBLE_EQ(tight.bpw_true, 68 * 8 / 80.0);
  EXPECT_DOUBLE_EQ(tight.bpw_linear, 4);
}

}  // namespace
}  // namespace quiver::test
