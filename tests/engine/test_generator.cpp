// Generation: what ends it, and that it does not depend on how the prompt was fed.
#include <gtest/gtest.h>

#include <limits>

#include "core/decode/generator.hpp"
#include "core/eval/perplexity.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

/// Rules out every token that occurred before.
class NeverTwice : public Sampler {
 public:
  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte>) const override {
    for (const std::int32_t token : context.history())
      candidates.logits[token] = -std::numeric_limits<float>::infinity();
    candidates.is_sorted = false;
  }
};

class Generator : public testing::Test {
 protected:
  Generation run(const GenerationOptions& options) {
    Sequence sequence = test.engine.new_sequence();
    return generate(test.engine, sequence, prompt, SamplerChain(), options);
  }

  TestEngine test{load_model(shared("reference/llama/llama/checkpoint"))};
  std::vector<std::int32_t> prompt{56, 211, 252, 186, 280, 125, 101, 101, 119, 201};
  std::vector<std::int32_t> continuation{176, 284, 73, 206, 176, 4, 264, 176};  // expected.json
};

TEST_F(Generator, max_tokens_is_exact) {
  for (const int count : {0, 1, 5}) {
    GenerationOptions options;
    options.max_tokens = count;
    const Generation result = run(options);
    EXPECT_EQ(result.reason, FinishReason::length);
    EXPECT_EQ(result.ids,
              std::vector<std::int32_t>(continuation.begin(), continuation.begin() + count));
  }
}

TEST_F(Generator, an_end_id_ends_the_text_and_is_kept) {
  GenerationOptions options;
  options.max_tokens = 8;
  options.end_ids = {999, 206};
  const Generation result = run(options);
  EXPECT_EQ(result.reason, FinishReason::stop);
  EXPECT_EQ(result.ids, (std::vector<std::int32_t>{176, 284, 73, 206}));
}

TEST_F(Generator, samplers_see_what_the_sequence_held_before) {
  const SamplerChain penalized({std::make_shared<const NeverTwice>()});
  GenerationOptions options;
  options.max_tokens = 8;
  Sequence whole = test.engine.new_sequence();
  const auto expected = generate(test.engine, whole, prompt, penalized, options).ids;
  Sequence halves = test.engine.new_sequence();
  const auto first = std::span(prompt).first(6);
  test.engine.feed_prompt(halves, first);
  options.cached = first;
  EXPECT_EQ(generate(test.engine, halves, std::span(prompt).subspan(6), penalized, options).ids,
            expected);
}

TEST_F(Generator, a_callback_ends_the_text) {
  GenerationOptions options;
  options.on_token = [](std::int32_t token) { return token != 73; };
  const Generation result = run(options);
  EXPECT_EQ(result.reason, FinishReason::stop);
  EXPECT_EQ(result.ids.size(), 3U);
}

TEST_F(Generator, an_interrupt_keeps_what_there_is) {
  std::atomic<bool> interrupt{false};
  GenerationOptions options;
  options.interrupt = &interrupt;
  options.on_token = [&](std::int32_t) {
    interrupt = true;
    return true;
  };
  const Generation result = run(options);
  EXPECT_EQ(result.reason, FinishReason::interrupted);
  EXPECT_EQ(result.ids.size(), 1U);
}

TEST_F(Generator, the_context_length_ends_the_text) {
  const int context = test.engine.info().context_length;
  std::vector<std::int32_t> long_prompt(static_cast<std::size_t>(context - 2), 5);
  Sequence sequence = test.engine.new_sequence();
  GenerationOptions options;
  options.max_tokens = 100;
  const Generation result = generate(test.engine, sequence, long_prompt, SamplerChain(), options);
  EXPECT_EQ(result.reason, FinishReason::length);
  EXPECT_EQ(result.ids.size(), 3U) << "two that fit, and the one after them";
  long_prompt.resize(static_cast<std::size_t>(context) + 1, 5);
  Sequence other = test.engine.new_sequence();
  EXPECT_THROW(generate(test.engine, other, long_prompt, SamplerChain(), options), Error);
}

TEST_F(Generator, an_empty_prompt_is_an_error) {
  Sequence sequence = test.engine.new_sequence();
  EXPECT_THROW(generate(test.engine, sequence, {}, SamplerChain(), {}), Error);
}

TEST_F(Generator, perplexity_is_the_mean_over_logits_whatever_the_chunks) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 300; ++i) ids.push_back((i * 37 + i / 7) % 295);
  const Logits logits = all_logits(test.engine, ids, ids.size());
  double total = 0;
  for (std::size_t i = 1; i < ids.size(); ++i) {
    total += negative_log_likelihood(logits.row(static_cast<int>(i) - 1), ids[i]);
  }
  const Perplexity whole = perplexity(test.engine, ids, {});
  EXPECT_EQ(whole.tokens, 299U);
  EXPECT_NEAR(whole.nll, total / 299, 1e-9);
  EXPECT_NEAR(whole.perplexity, std::exp(whole.nll), 1e-9);
  PerplexityOptions windows;
  windows.context = 100;
  EXPECT_EQ(perplexity(test.engine, ids, windows).tokens, 297U)
      << "the first of each window is given";
  windows.stride = 50;
  EXPECT_EQ(perplexity(test.engine, ids, windows).tokens, 299U) << "overlap scores every token";
}

}  // namespace
}  // namespace quiver::test
