// The sampler chain of the host: choice without samplers, random numbers, state, and misbehaviour.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/decode/philox.hpp"
#include "core/decode/sampler_chain.hpp"
#include "quiver/error.hpp"

namespace quiver {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int32_t next(const SamplerChain& chain, std::vector<float> logits, SamplerState& state,
                  std::vector<std::int32_t> history = {1, 2}) {
  return chain.next(logits, history, 1, nullptr, state);
}

TEST(Philox, known_answers_of_the_paper_hold) {
  using Block = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(SamplerChain, without_samplers_the_lowest_id_of_the_most_likely_is_taken) {
  const SamplerChain chain;
  SamplerState state = chain.start(0);
  EXPECT_EQ(next(chain, {0, 3, 1, 3}, state), 1);
  EXPECT_EQ(next(chain, {-kInfinity, -kInfinity, -5}, state), 2);
}

TEST(SamplerChain, logits_that_are_not_numbers_are_an_error) {
  const SamplerChain chain;
  SamplerState state = chain.start(0);
  EXPECT_THROW(next(chain, {0, std::nanf(""), 1}, state), Error);
  EXPECT_THROW(next(chain, {-kInfinity, -kInfinity}, state), Error);
}

/// Chooses by its random number and counts its choices in its state.
class Counting : public Sampler {
 public:
  std::size_t state_bytes() const override { return sizeof(std::uint32_t); }
  void reset(std::span<std::byte> state) const override {
    std::memset(state.data(), 0, state.size());
  }
  bool chooses() const override { return true; }
  std::int32_t choose(Candidates& candidates, const SamplerContext& context,
                      std::span<std::byte> state) const override {
    std::uint32_t count = 0;
    std::memcpy(&count, state.data(), sizeof(count));
    ++count;
    std::memcpy(state.data(), &count, sizeof(count));
    const auto index =
        static_cast<std::size_t>(context.uniform(count) * static_cast<double>(candidates.count));
    return candidates.ids[index];
  }
};

TEST(SamplerChain, a_restored_state_repeats_the_same_choices) {
  const SamplerChain chain({std::make_shared<Counting>()});
  SamplerState state = chain.start(42);
  std::vector<std::int32_t> history{7};
  const std::vector<float> logits(1000, 0.0F);
  const auto run = [&](SamplerState from, std::vector<std::int32_t> tokens, int count) {
    for (int i = 0; i < count; ++i) tokens.push_back(next(chain, logits, from, tokens));
    return tokens;
  };
  for (int i = 0; i < 5; ++i) history.push_back(next(chain, logits, state, history));
  const auto once = run(state, history, 20);
  EXPECT_EQ(once, run(state, history, 20));
  SamplerState other = state;
  other.seed = 43;
  EXPECT_NE(once, run(other, history, 20));
}

class Emptying : public Sampler {
 public:
  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    candidates.count = 0;
  }
};

/// Puts the candidates into the opposite order.
class Reversing : public Sampler {
 public:
  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    std::reverse(candidates.ids, candidates.ids + candidates.count);
    std::reverse(candidates.logits, candidates.logits + candidates.count);
    candidates.is_sorted = candidates.is_indexed = false;
  }
};

TEST(SamplerChain, what_one_chain_does_to_the_order_of_ids_reaches_no_other) {
  const SamplerChain plain;
  const SamplerChain reversing({std::make_shared<Reversing>()});
  SamplerState none = plain.start(0);
  SamplerState state = reversing.start(0);
  for (const std::vector<float>& logits :
       {std::vector<float>{5, 0, 1, 2}, {0, 7}, {0, 0, 3, 0, 0, 0}}) {
    const auto want = static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
    EXPECT_EQ(next(plain, logits, none), want);
    EXPECT_EQ(next(reversing, logits, state), want);
    EXPECT_EQ(next(plain, logits, none), want);
  }
}

class Outsider : public Counting {
 public:
  std::int32_t choose(Candidates&, const SamplerContext&, std::span<std::byte>) const override {
    return 99;
  }
};

TEST(SamplerChain, samplers_that_break_their_contract_are_reported) {
  const SamplerChain emptying({std::make_shared<Emptying>()});
  SamplerState state = emptying.start(0);
  EXPECT_THROW(next(emptying, {1, 2}, state), Error);
  const SamplerChain outsider({std::make_shared<Outsider>()});
  state = outsider.start(0);
  EXPECT_THROW(next(outsider, {1, 2}, state), Error);
}

}  // namespace
}  // namespace quiver
