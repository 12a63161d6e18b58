// kv-float: stored numbers, scores and sums against plain loops, and independence of neighbours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <quiver/kv_strategy.hpp>
#include <random>
#include <vector>

#include "plugin_under_test.hpp"

namespace quiver::test {
namespace {

constexpr int kTokens = KvStrategy::kTokens;
const char* const kNames[] = {"f32", "f16", "bf16"};
const KvShape kShapes[] = {{1, 64}, {3, 80}, {2, 16}, {2, 24}, {1, 7}, {1, 1}, {2, 128}};

const KvStrategyFactory& strategies() {
  static const auto& factory = open_interface<KvStrategyFactory>(KV_FLOAT_SO);
  return factory;
}

std::unique_ptr<KvStrategy> make(const char* name) {
  const ChosenOptions none(strategies().options(name), {});
  return std::unique_ptr<KvStrategy>(strategies().create(name, none));
}

/// A page with room for checks on both sides.
class Page {
 public:
  explicit Page(std::size_t size) : bytes_(size + 3 * kGuard, std::byte{0xA5}), size_(size) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data()) + kGuard;
    offset_ = kGuard + (64 - address % 64) % 64;
  }
  std::byte* data() { return bytes_.data() + offset_; }
  std::size_t size() const { return size_; }
  bool is_guarded() const {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      const bool is_inside = i >= offset_ && i < offset_ + size_;
      if (!is_inside && bytes_[i] != std::byte{0xA5}) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  std::vector<std::byte> bytes_;
  std::size_t size_;
  std::size_t offset_;
};

std::vector<float> random_floats(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// The nearest float16 or bfloat16 by scaling to whole numbers, ties to even; no subnormal
/// bfloat16.
float rounded(std::string_view name, float value) {
  if (name == "f32" || value == 0 || !std::isfinite(value)) return value;
  const bool is_f16 = name == "f16";
  const int exponent = std::max(std::ilogb(value), is_f16 ? -14 : -126) - (is_f16 ? 10 : 7);
  const double result = std::ldexp(std::nearbyint(std::ldexp(value, -exponent)), exponent);
  const double largest = is_f16 ? 65504 : 0x1.FEp127;
  return static_cast<float>(std::abs(result) > largest ? std::copysign(INFINITY, result) : result);
}

/// A full page of random tokens and what was written.
struct Filled {
  KvShape shape;
  std::unique_ptr<KvStrategy> strategy;
  Page page;
  std::vector<float> keys, values;  // [token, head, dim]

  Filled(const char* name, const KvShape& s, std::uint32_t seed = 5)
      : shape(s), strategy(make(name)), page(strategy->page_bytes(s)) {
    const auto width = static_cast<std::size_t>(s.kv_heads * s.head_dim);
    keys = random_floats(width * kTokens, seed);
    values = random_floats(width * kTokens, seed + 1);
    for (int slot = 0; slot < kTokens; ++slot) {
      const auto at = static_cast<std::size_t>(slot) * width;
      strategy->write(s, page.data(), slot, std::span(keys).subspan(at, width),
                      std::span(values).subspan(at, width));
    }
  }
  std::size_t at(int slot, int head, int d) const {
    return static_cast<std::size_t>((slot * shape.kv_heads + head) * shape.head_dim + d);
  }
  std::vector<float> scores(int head, int first, int last, const float* queries, int count) {
    std::vector<float> result(static_cast<std::size_t>(count) * kTokens, -77.0F);
    strategy->scores(shape, page.data(), head, first, last, queries, count, result.data());
    return result;
  }
};

TEST(KvFloat, offers_three_strategies_and_refuses_others) {
  EXPECT_THROW(strategies().options("f8"), Error);
  for (const char* name : kNames) {
    EXPECT_EQ(make(name)->page_bytes({3, 64}), 3U * 64 * 64 * 2 * (name[1] == '3' ? 4 : 2));
    EXPECT_THROW(make(name)->page_bytes({0, 64}), Error);
    EXPECT_THROW(make(name)->page_bytes({2, -1}), Error);
    EXPECT_THROW(make(name)->page_bytes({INT32_MAX, INT32_MAX}), Error);
  }
}

TEST(KvFloat, scores_equal_sums_by_ascending_dimension_bit_for_bit) {
  for (const char* name : kNames) {
    for (const KvShape& shape : kShapes) {
      Filled filled(name, shape);
      EXPECT_TRUE(filled.page.is_guarded());
      const int count = 7;
      const auto queries = random_floats(static_cast<std::size_t>(count * shape.head_dim), 9);
      for (int head = 0; head < shape.kv_heads; ++head) {
        const auto scores = filled.scores(head, 0, kTokens, queries.data(), count);
        for (int q = 0; q < count; ++q) {
          for (int slot = 0; slot < kTokens; ++slot) {
            volatile float sum = 0;  // Rounded to float32 at each step.
            for (int d = 0; d < shape.head_dim; ++d) {
              volatile float product = queries[static_cast<std::size_t>(q * shape.head_dim + d)] *
                                       rounded(name, filled.keys[filled.at(slot, head, d)]);
              sum = sum + product;
            }
            ASSERT_EQ(scores[static_cast<std::size_t>(q * kTokens + slot)], sum)
                << name << " " << shape.head_dim << " " << slot;
          }
        }
      }
    }
  }
}

TEST(KvFloat, sums_of_values_equal_plain_loops_bit_for_bit) {
  for (const char* name : kNames) {
    for (const KvShape& shape : kShapes) {
      Filled filled(name, shape);
      const int count = 6;
      const auto weights = random_floats(static_cast<std::size_t>(count * kTokens), 11);
      for (int head = 0; head < shape.kv_heads; ++head) {
        auto output = random_floats(static_cast<std::size_t>(count * shape.head_dim), 13);
        auto expected = output;
        filled.strategy->accumulate(shape, filled.page.data(), head, 3, 61, weights.data(), count,
                                    output.data());
        for (int q = 0; q < count; ++q) {
          for (int d = 0; d < shape.head_dim; ++d) {
            volatile float sum = expected[static_cast<std::size_t>(q * shape.head_dim + d)];
            for (int slot = 3; slot < 61; ++slot) {
              volatile float product = weights[static_cast<std::size_t>(q * kTokens + slot)] *
                                       rounded(name, filled.values[filled.at(slot, head, d)]);
              sum = sum + product;
            }
            expected[static_cast<std::size_t>(q * shape.head_dim + d)] = sum;
          }
        }
        ASSERT_EQ(output, expected) << name << " " << shape.head_dim;
      }
    }
  }
}

TEST(KvFloat, results_do_not_depend_on_queries_together_or_on_the_range) {
  for (const char* name : kNames) {
    Filled filled(name, {2, 72});
    const int count = 9;
    const auto queries = random_floats(count * 72, 15);
    const auto weights = random_floats(count * kTokens, 16);
    const auto all = filled.scores(1, 0, kTokens, queries.data(), count);
    std::vector<float> output(count * 72, 0.25F);
    filled.strategy->accumulate(filled.shape, filled.page.data(), 1, 0, kTokens, weights.data(),
                                count, output.data());
    for (int q = 0; q < count; ++q) {
      const float* own = queries.data() + q * 72;
      for (const auto& [first, last] :
           {std::pair{0, 64}, {0, 1}, {5, 5}, {15, 17}, {16, 32}, {63, 64}}) {
        const auto part = filled.scores(1, first, last, own, 1);
        for (int slot = 0; slot < kTokens; ++slot) {
          const bool is_asked = slot >= first && slot < last;
          const float expected =
              is_asked ? all[static_cast<std::size_t>(q * kTokens + slot)] : -77.0F;
          ASSERT_EQ(part[static_cast<std::size_t>(slot)], expected) << name << " " << slot;
        }
      }
      std::vector<float> alone(72, 0.25F);
      for (const auto& [first, last] : {std::pair{0, 1}, {1, 20}, {20, 20}, {20, 64}}) {
        filled.strategy->accumulate(filled.shape, filled.page.data(), 1, first, last,
                                    weights.data() + q * kTokens, 1, alone.data());
      }
      EXPECT_EQ(std::memcmp(alone.data(), output.data() + q * 72, 72 * sizeof(float)), 0) << name;
    }
  }
}

TEST(KvFloat, slots_are_independent_and_can_be_written_again) {
  for (const char* name : kNames) {
    Filled filled(name, {2, 40});
    const auto queries = random_floats(40, 17);
    const auto before = filled.scores(0, 0, kTokens, queries.data(), 1);
    const auto other = random_floats(80, 18);
    filled.strategy->write(filled.shape, filled.page.data(), 37, other, other);
    auto after = filled.scores(0, 0, kTokens, queries.data(), 1);
    EXPECT_NE(after[37], before[37]);
    after[37] = before[37];
    EXPECT_EQ(after, before);
    EXPECT_TRUE(filled.page.is_guarded());
  }
}

TEST(KvFloat, slots_outside_the_range_may_hold_anything) {
  for (const char* name : kNames) {
    Filled filled(name, {1, 32});
    const auto queries = random_floats(32 * 5, 19);
    const auto before = filled.scores(0, 0, 10, queries.data(), 5);
    const std::vector<float> junk(32, std::nanf(""));
    for (int slot = 10; slot < kTokens; ++slot) {
      filled.strategy->write(filled.shape, filled.page.data(), slot, junk, junk);
    }
    EXPECT_EQ(filled.scores(0, 0, 10, queries.data(), 5), before);
  }
}

TEST(KvFloat, a_copied_page_gives_the_same_results) {
  Filled filled("f16", {2, 64});
  const auto queries = random_floats(64, 20);
  Page copy(filled.page.size());
  std::memcpy(copy.data(), filled.page.data(), copy.size());
  std::vector<float> scores(kTokens);
  filled.strategy->scores(filled.shape, copy.data(), 1, 0, kTokens, queries.data(), 1,
                          scores.data());
  EXPECT_EQ(scores, filled.scores(1, 0, kTokens, queries.data(), 1));
}

/// What a number becomes by being stored: read back through a score with a query of one.
float stored(KvStrategy& strategy, Page& page, float value) {
  const KvShape shape{1, 1};
  const float one = 1;
  std::vector<float> scores(kTokens);
  strategy.write(shape, page.data(), 0, std::span(&value, 1), std::span(&value, 1));
  strategy.scores(shape, page.data(), 0, 0, 1, &one, 1, scores.data());
  float output = 0;
  const std::vector<float> weights(kTokens, 1.0F);
  strategy.accumulate(shape, page.data(), 0, 0, 1, weights.data(), 1, &output);
  EXPECT_TRUE(scores[0] == output || (std::isnan(scores[0]) && std::isnan(output))) << value;
  return scores[0];
}

TEST(KvFloat, rounds_to_nearest_even_everywhere) {
  for (const char* name : kNames) {
    const auto strategy = make(name);
    Page page(strategy->page_bytes({1, 1}));
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
  Page page(strategy->page_bytes({1, 4}));
  const std::vector<float> four(4), five(5);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), 64, four, four), Error);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), -1, four, four), Error);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), 0, five, four), Error);
  EXPECT_THROW(strategy->write({1, 4}, page.data(), 0, four, five), Error);
  EXPECT_TRUE(page.is_guarded());
}

}  // namespace
}  // namespace quiver::test
