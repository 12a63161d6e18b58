// The choices of sampler-standard: what is drawn how often, and how mirostat steers it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "sampler_fixture.hpp"

namespace quiver::test {
namespace {

std::int32_t choose(const Sampler& sampler, const std::vector<float>& logits,
                    const TestContext& context, std::span<std::byte> state = {}) {
  Row row(logits);
  return sampler.choose(row.candidates, context, state);
}

TEST(Philox, gives_the_published_vectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Choosers, say_that_they_choose_and_filters_do_not) {
  for (const char* name : {"draw", "greedy", "mirostat", "mirostat-v2"}) {
    EXPECT_TRUE(make(name)->chooses()) << name;
  }
  EXPECT_FALSE(make("top-k")->chooses());
  Row row({1, 2});
  EXPECT_EQ(make("top-k")->choose(row.candidates, TestContext(), {}), -1);
}

TEST(Choosers, refuse_bad_logits) {
  for (const char* name : {"draw", "greedy", "mirostat", "mirostat-v2"}) {
    const auto sampler = make(name);
    alignas(16) std::array<std::byte, 64> state{};
    sampler->reset(state);
    EXPECT_THROW(choose(*sampler, {1, std::nanf(""), 2}, {}, state), Error) << name;
    EXPECT_THROW(choose(*sampler, {1, -kMinusInfinity, 2}, {}, state), Error) << name;
    EXPECT_THROW(choose(*sampler, {kMinusInfinity, kMinusInfinity}, {}, state), Error) << name;
  }
}

TEST(Greedy, takes_the_lowest_id_of_the_largest) {
  EXPECT_EQ(choose(*make("greedy"), {1, 4, 4, 2}, {}), 1);
  Row row({4, 1, 4}, {8, 1, 5});
  EXPECT_EQ(make("greedy")->choose(row.candidates, TestContext(), {}), 5);
}

TEST(Draw, follows_the_distribution_function_in_the_order_of_candidates) {
  const auto logits = logits_of({0.25, 0, 0.5, 0.25, 0});
  const auto draw = make("draw");
  TestContext context;
  const std::pair<double, std::int32_t> cases[] = {{0, 0},      {0.2499, 0}, {0.2501, 2},
                                                   {0.7499, 2}, {0.7501, 3}, {1 - 0x1p-53, 3}};
  for (const auto& [uniform, id] : cases) {
    context.fixed_uniform = uniform;
    EXPECT_EQ(choose(*draw, logits, context), id) << uniform;
  }
}

TEST(Draw, never_takes_what_is_ruled_out_even_at_the_ends) {
  const auto draw = make("draw");
  std::vector<float> logits(1000, kMinusInfinity);
  logits[400] = -50;
  logits[600] = -50;
  TestContext context;
  for (const double uniform : {0.0, 0.49, 0.51, 1 - 0x1p-53}) {
    context.fixed_uniform = uniform;
    EXPECT_EQ(choose(*draw, logits, context), uniform < 0.5 ? 400 : 600);
  }
}

/// Chi-square of counts against probabilities; tokens below five expected draws count together.
double chi_square(const std::vector<int>& counts, const std::vector<double>& p, int draws,
                  int& degrees) {
  double result = 0, rest_expected = 0, rest_count = 0;
  degrees = -1;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * draws;
    if (expected < 5) {
      rest_expected += expected;
      rest_count += counts[i];
      continue;
    }
    result += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++degrees;
  }
  if (rest_expected > 0) {
    result += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
    ++degrees;
  }
  return result;
}

/// Chi-square value exceeded with probability 1e-4: Wilson and Hilferty's approximation.
double chi_square_limit(int degrees) {
  const double part = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1 - part + 3.719 * std::sqrt(part), 3);
}

TEST(Draw, draws_by_probability) {
  constexpr int kDraws = 20000;
  const auto draw = make("draw");
  for (const std::size_t count : {4U, 50U, 260U}) {
    std::vector<float> logits(count);
    for (std::size_t i = 0; i < count; ++i) {
      logits[i] = static_cast<float>(std::sin(static_cast<double>(i * i)) * 2);
    }
    const auto p = Row(logits).probabilities();
    std::vector<int> counts(count, 0);
    TestContext context;
    context.seed = 42;
    for (context.position = 0; context.position < kDraws; ++context.position) {
      ++counts[static_cast<std::size_t>(choose(*draw, logits, context))];
    }
    int degrees = 0;
    const double distance = chi_square(counts, p, kDraws, degrees);
    EXPECT_LT(distance, chi_square_limit(degrees)) << count;
  }
}

TEST(Draw, depends_on_seed_and_position_alone) {
  const auto draw = make("draw");
  const std::vector<float> logits(50, 0.0F);
  TestContext context, other;
  other.seed = 2;
  int equal = 0;
  for (context.position = 0; context.position < 200; ++context.position) {
    other.position = context.position;
    EXPECT_EQ(choose(*draw, logits, context), choose(*draw, logits, context));
    equal += choose(*draw, logits, context) == choose(*draw, logits, other) ? 1 : 0;
  }
  EXPECT_LT(equal, 20);
}

// ---------------------------------------------------------------------------------------------------

std::vector<float> zipf(std::size_t count, double exponent) {
  std::vector<float> logits;
  for (std::size_t i = 0; i < count; ++i) {
    logits.push_back(static_cast<float>(-exponent * std::log(static_cast<double>(i + 1))));
  }
  return logits;
}

/// Mean of -log2 p over draws [skip, steps), p renormalized over what the sampler left.
double mean_surprise(const Sampler& sampler, const std::vector<float>& logits, std::uint32_t steps,
                     std::uint32_t skip) {
  alignas(16) std::array<std::byte, 16> state{};
  sampler.reset(state);
  double total = 0;
  TestContext context;
  for (context.position = 0; context.position < steps; ++context.position) {
    Row row(logits);
    const std::int32_t id = sampler.choose(row.candidates, context, state);
    const auto p = row.probabilities();
    const auto ids = row.survivors();
    const auto at = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
    if (context.position >= skip) total -= std::log2(p[at]);
  }
  return total / (steps - skip);
}

TEST(Mirostat, surprise_converges_to_its_target) {
  for (const char* name : {"mirostat", "mirostat-v2"}) {
    for (const double tau : {2.0, 3.0, 4.0}) {
      const auto sampler = make(name, {{"tau", tau}, {"eta", 0.1}});
      EXPECT_NEAR(mean_surprise(*sampler, zipf(1000, 1.1), 900, 200), tau, 0.3) << name;
    }
  }
}

TEST(Mirostat, starts_with_twice_its_target_and_moves_by_the_error) {
  // 4 alike: each has 2 bits, so one step moves mu from 4 to 4 - 0.5 * (2 - 2), then tau 3: up.
  for (const double tau : {2.0, 3.0}) {
    const auto sampler = make("mirostat-v2", {{"tau", tau}, {"eta", 0.5}});
    ASSERT_GE(sampler->state_bytes(), sizeof(double));
    alignas(16) std::array<std::byte, 16> state{};
    sampler->reset(std::span(state).first(sampler->state_bytes()));
    double mu = 0;
    std::memcpy(&mu, state.data(), sizeof mu);
    EXPECT_EQ(mu, 2 * tau);
    choose(*sampler, {0, 0, 0, 0}, {}, state);
    std::memcpy(&mu, state.data(), sizeof mu);
    EXPECT_NEAR(mu, 2 * tau - 0.5 * (2 - tau), 1e-12);
  }
}

TEST(Mirostat, version_2_cuts_what_exceeds_its_bound_but_never_all) {
  const auto logits = logits_of({1 / 16., 1 / 2., 1 / 4., 3 / 16.});
  const std::pair<double, std::size_t> cases[] = {{0.25, 1}, {1.05, 2}, {2.5, 4}, {0, 1}};
  for (const auto& [tau, count] : cases) {  // mu = 2 tau; surprises 4, 1, 2, 2.4.
    const auto sampler = make("mirostat-v2", {{"tau", tau}});
    alignas(16) std::array<std::byte, 16> state{};
    sampler->reset(state);
    Row row(logits);
    sampler->choose(row.candidates, TestContext(), state);
    EXPECT_EQ(row.candidates.count, count) << tau;
  }
}

TEST(Mirostat, version_1_keeps_as_many_as_its_formula_says) {
  // Zipf with exponent 2 over 1000: k = (1 * 2^mu / (1 - 1/1000))^(1/2).
  const auto sampler = make("mirostat", {{"tau", 3}});
  alignas(16) std::array<std::byte, 16> state{};
  sampler->reset(state);
  Row row(zipf(1000, 2));
  sampler->choose(row.candidates, TestContext(), state);
  EXPECT_EQ(row.candidates.count, static_cast<std::size_t>(std::sqrt(64 / 0.999)));
}

TEST(Mirostat, copes_with_flat_sure_and_single_rows) {
  for (const char* name : {"mirostat", "mirostat-v2"}) {
    const auto sampler = make(name);
    alignas(16) std::array<std::byte, 16> state{};
    sampler->reset(state);
    std::vector<float> sure(100, -1e30F);
    sure[7] = 1e30F;
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(choose(*sampler, {5}, {}, state), 0);
      EXPECT_EQ(choose(*sampler, {kMinusInfinity, 5}, {}, state), 1);
      EXPECT_EQ(choose(*sampler, sure, {}, state), 7);
      EXPECT_GE(choose(*sampler, std::vector<float>(300, 2.0F), {}, state), 0);
    }
  }
}

TEST(Mirostat, continues_alike_from_a_restored_state) {
  for (const char* name : {"mirostat", "mirostat-v2"}) {
    const auto sampler = make(name, {{"tau", 3}});
    const auto logits = zipf(500, 1.0);
    alignas(16) std::array<std::byte, 16> state{};
    sampler->reset(state);
    TestContext context;
    const auto run = [&](std::uint32_t from, std::uint32_t to) {
      std::vector<std::int32_t> ids;
      for (context.position = from; context.position < to; ++context.position) {
        ids.push_back(choose(*sampler, logits, context, state));
      }
      return ids;
    };
    run(0, 40);
    const auto saved = state;
    const auto first = run(40, 80);
    EXPECT_NE(state, saved);
    state = saved;
    EXPECT_EQ(run(40, 80), first) << name;
  }
}

}  // namespace
}  // namespace quiver::test
