// kv-float: stored numbers, scores and sums against plain loops.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <memory>
#include <quiver/kv_strategy.hpp>
#include <random>
#include <vector>

#include "kv_fixture.hpp"

namespace quiver::test {
namespace {

const char* const kNames[] = {"f32", "f16", "bf16"};
const KvShape kShapes[] = {{1, 64}, {3, 80}, {2, 16}, {2, 24}, {1, 7}, {1, 1}, {2, 128}};

const KvStrategyFactory& strategies() {
  static const auto& factory = open_interface<KvStrategyFactory>(KV_FLOAT_SO);
  return factory;
}

std::shared_ptr<const KvStrategy> make(const char* name, const char* isa = "avx512vnni") {
  return make_kv({KV_FLOAT_SO, name}, isa);
}

/// What a float16 or bfloat16 keeps of a number; no subnormal bfloat16.
float rounded(std::string_view name, float value) {
  if (name == "f32") return value;
  if (name == "f16") return static_cast<float>(rounded_f16(value));
  const double result = rounded_to(value, 8, -133);
  return static_cast<float>(std::abs(result) > 0x1.FEp127 ? std::copysign(INFINITY, result)
                                                          : result);
}

TEST(KvFloat, offers_three_strategies_and_refuses_others) {
  EXPECT_THROW(strategies().options("f8"), Error);
  for (const char* name : kNames) {
    EXPECT_EQ(make(name)->page_bytes({3, 64}), 3U * 64 * 64 * 2 * (name[1] == '3' ? 4 : 2));
    EXPECT_THROW(make(name)->page_bytes({0, 64}), Error);
    EXPECT_THROW(make(name)->page_bytes({2, -1}), Error);
    EXPECT_THROW(make(name)->page_bytes({INT32_MAX, INT32_MAX}), Error);
  }
}

/// A sum by ascending index, each product and sum rounded to float32, or both at once: loops with
/// fused multiply-adds round once.
struct TwoSums {
  float apart;
  float fused;
  void add(float a, float b) {
    volatile float product = a * b;
    apart = apart + product;
    fused = std::fma(a, b, fused);
  }
};

/// Counts how many results equal either sum; all must be of one kind.
struct Agreement {
  std::size_t apart = 0;
  std::size_t fused = 0;
  std::size_t all = 0;
  void add(const TwoSums& sums, float found) {
    apart += found == sums.apart ? 1U : 0U;
    fused += found == sums.fused ? 1U : 0U;
    ++all;
  }
  bool holds() const { return apart == all || fused == all; }
};

TEST(KvFloat, scores_equal_sums_by_ascending_dimension_bit_for_bit) {
  for (const char* isa : kIsas) {
    for (const char* name : kNames) {
      Agreement agreement;
      for (const KvShape& shape : kShapes) {
        FilledPage filled(make(name, isa), shape);
        const std::size_t count = 7;
        const auto queries = random_floats(count * filled.dims(), 9);
        for (int head = 0; head < shape.kv_heads; ++head) {
          const auto scores = filled.scores(head, 0, kTokens, queries);
          for (std::size_t q = 0; q < count; ++q) {
            for (int slot = 0; slot < kTokens; ++slot) {
              TwoSums sum{0, 0};
              for (int d = 0; d < shape.head_dim; ++d) {
                sum.add(queries[q * filled.dims() + static_cast<std::size_t>(d)],
                        rounded(name, filled.keys[filled.at(slot, head, d)]));
              }
              agreement.add(sum, scores[q * kTokens + static_cast<std::size_t>(slot)]);
            }
          }
        }
      }
      EXPECT_TRUE(agreement.holds()) << isa << " " << name;
    }
  }
}

TEST(KvFloat, sums_of_values_equal_plain_loops_bit_for_bit) {
  for (const char* isa : kIsas) {
    for (const char* name : kNames) {
      Agreement agreement;
      for (const KvShape& shape : kShapes) {
        FilledPage filled(make(name, isa), shape);
        const std::size_t count = 6;
        const auto weights = random_floats(count * kTokens, 11);
        for (int head = 0; head < shape.kv_heads; ++head) {
          const auto output = filled.raw_sums(head, 3, 61, weights, 0.25F);
          for (std::size_t q = 0; q < count; ++q) {
            for (int d = 0; d < shape.head_dim; ++d) {
              TwoSums sum{0.25F, 0.25F};
              for (int slot = 3; slot < 61; ++slot) {
                sum.add(weights[q * kTokens + static_cast<std::size_t>(slot)],
                        rounded(name, filled.values[filled.at(slot, head, d)]));
              }
              agreement.add(sum, output[q * filled.dims() + static_cast<std::size_t>(d)]);
            }
          }
        }
      }
      EXPECT_TRUE(agreement.holds()) << isa << " " << name;
    }
  }
}

TEST(KvFloat, sums_of_parts_equal_the_sum_of_the_whole) {
  for (const char* name : kNames) {
    FilledPage filled(make(name), {2, 72});
    const auto weights = random_floats(kTokens, 16);
    const auto whole = filled.raw_sums(1, 0, kTokens, weights, 0.25F);
    std::vector<float> parts(72, 0.25F);
    for (const auto& [first, last] : {std::pair{0, 1}, {1, 20}, {20, 20}, {20, 64}}) {
      filled.strategy->accumulate(filled.shape, filled.page.slots(1, first, last), weights.data(),
                                  1, parts.data(), nullptr);
    }
    EXPECT_EQ(parts, whole) << name;
  }
}

/// What a number becomes by being stored: read back through a score with a query of one.
float stored(const KvStrategy& strategy, GuardedPage& page, float value) {
  const KvShape shape{1, 1};
  const float one = 1;
  std::vector<float> scores(kTokens);
  strategy.write(shape, page.data(), 0, std::span(&value, 1), std::span(&value, 1));
  strategy.scores(shape, page.slots(0, 0, 1), &one, 1, scores.data());
  float output = 0;
  const std::vector<float> weights(kTokens, 1.0F);
  strategy.accumulate(shape, page.slots(0, 0, 1), weights.data(), 1, &output, nullptr);
  EXPECT_TRUE(scores[0] == output || (std::isnan(scores[0]) && std::isnan(output))) << value;
  return scores[0];
}

TEST(KvFloat, rounds_to_nearest_even_everywhere) {
  for (int run = 0; run < 9; ++run) {
    const char* name = kNames[run % 3];
    const auto strategy = make(name, kIsas[run / 3]);
    GuardedPage page(strategy->page_bytes({1, 1}));
    std::mt19937 random(21);
    for (int i = 0; i < 20000; ++i) {
      auto bits = static_cast<std::uint32_t>(random());
      // Half of them near ties of either type, and in the range of float16.
      if (i % 2 == 0) {
        bits = (bits & 0x80FFFFFF) | ((0x30 + bits % 24) << 24);
        bits = (bits & ~0x1FFFU) | (i % 4 == 0 ? 0x1000U : 0x8000U);
        bits += static_cast<std::uint32_t>(i % 3) - 1;
      }
      const auto value = std::bit_cast<float>(bits);
      if (std::isnan(value) || std::abs(value) < 0x1p-126F) continue;
      ASSERT_EQ(stored(*strategy, page, value), rounded(name, value)) << name << " " << value;
    }
    for (const float value :
         {0.0F, -0.0F, 65504.0F, 65519.996F, 65520.0F, 0x1p-24F, 0x1p-25F, 0x1.8p-24F, 0x1.8p-25F,
          0x1.ffcp-15F, -0x1p-14F, INFINITY, -INFINITY}) {
      EXPECT_EQ(stored(*strategy, page, value), rounded(name, value)) << name << " " << value;
    }
    EXPECT_TRUE(std::isnan(stored(*strategy, page, std::nanf(""))));
    EXPECT_TRUE(std::isnan(stored(*strategy, page, std::bit_cast<float>(0x7F800001U))));
  }
}

TEST(KvFloat, refuses_tokens_that_do_not_fit) {
  const auto strategy = make("f32");
  GuardedPage page(strategy->page_bytes({1, 4}));
  const std::vector<float> four(4), five(5);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), 64, four, four), Error);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), -1, four, four), Error);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), 0, five, four), Error);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), 0, four, five), Error);
  EXPECT_TRUE(page.is_guarded());
}

}  // namespace
}  // namespace quiver::test
