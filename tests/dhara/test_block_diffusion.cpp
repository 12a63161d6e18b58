// Block diffusion: what ends a text, what is never written, infilling, and what a step costs.
#include <set>

#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

using Ids = std::vector<std::int32_t>;
constexpr std::int32_t kMask = 2048;  // of the trained model

class BlockDiffusion : public testing::Test {
 protected:
  BlockDiffusion() {
    options.max_tokens = 40;
    options.decode.mode = DecodeMode::block_diffusion;
    options.decode.block_length = 32;
    options.decode.canvas_sampler = confidence(0.5);
    options.decode.observer = &record;
  }
  Generation run(const SamplerChain& samplers = SamplerChain()) {
    record = DecodeRecord();
    return write(test.engine, prompt, samplers, options);
  }

  TestEngine test{load_dhara(shared("models/dhara-tiny-real"))};
  Ids prompt = ids_of(
      read_json_file(shared("reference/dhara/real/expected.json")).at("cases").at(0).at("prompt"));
  DecodeRecord record;
  GenerationOptions options;
};

TEST_F(BlockDiffusion, max_tokens_is_exact) {
  const Ids whole = run().ids;
  for (const int count : {0, 1, 31, 32, 33, 40}) {
    options.max_tokens = count;
    const Generation result = run();
    EXPECT_EQ(result.reason, FinishReason::length);
    EXPECT_EQ(result.ids, Ids(whole.begin(), whole.begin() + count));
  }
}

TEST_F(BlockDiffusion, an_end_id_ends_the_text_inside_its_block_and_is_kept) {
  const Ids whole = run().ids;
  options.end_ids = {whole[9]};
  const Generation result = run();
  EXPECT_EQ(result.reason, FinishReason::stop);
  const auto end = std::ranges::find(whole, whole[9]) + 1;
  EXPECT_EQ(result.ids, Ids(whole.begin(), end));
}

TEST_F(BlockDiffusion, a_step_runs_the_canvas_alone) {
  const Generation result = run();
  std::size_t steps = 0;
  for (const auto& canvas : record.canvases) steps += canvas.steps.size();
  EXPECT_EQ(result.counts.blocks, 2);
  EXPECT_EQ(static_cast<std::size_t>(result.counts.steps), steps);
  // One pass a step, and one that settles each block but the last.
  EXPECT_EQ(result.counts.passes, result.counts.steps + 1);
  EXPECT_EQ(record.canvases[1].start, prompt.size() + 32);
}

TEST_F(BlockDiffusion, fixed_positions_stay_and_tokens_come_block_by_block) {
  std::vector<std::size_t> canvases_before;
  options.on_token = [&](std::int32_t) {
    canvases_before.push_back(record.canvases.size());
    return true;
  };
  const Generation result = run();
  for (const auto& canvas : record.canvases) {
    for (std::size_t step = 1; step < canvas.steps.size(); ++step) {
      for (std::size_t i = 0; i < 32; ++i) {
        if (canvas.steps[step - 1][i] != kMask) {
          EXPECT_EQ(canvas.steps[step][i], canvas.steps[step - 1][i]);
        }
      }
    }
  }
  ASSERT_EQ(canvases_before.size(), result.ids.size());
  for (std::size_t i = 0; i < result.ids.size(); ++i) EXPECT_EQ(canvases_before[i], 1 + i / 32);
}

/// Makes the mask likelier than anything else.
class Favour : public Sampler {
 public:
  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    for (std::size_t i = 0; i < candidates.count; ++i) {
      if (candidates.ids[i] == kMask) candidates.logits[i] += 1000;
    }
    candidates.is_sorted = false;
  }
};

TEST_F(BlockDiffusion, the_mask_is_never_written_unless_that_is_allowed) {
  const SamplerChain favouring({std::make_shared<const Favour>()});
  EXPECT_EQ(std::ranges::count(run(favouring).ids, kMask), 0);
  options.decode.allows_mask = true;
  const Generation masked = run(favouring);
  EXPECT_EQ(std::ranges::count(masked.ids, kMask), 40);
  EXPECT_EQ(record.canvases[0].steps.size(), 32U) << "and yet it ends";
}

TEST_F(BlockDiffusion, drawn_texts_repeat_with_their_seed) {
  const auto draw = [&](std::uint64_t seed) {
    options.seed = seed;
    return run(SamplerChain(
                   {standard_sampler("temperature", {{"t", 1.0}}), standard_sampler("draw", {})}))
        .ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  std::set<Ids> texts;
  for (std::uint64_t seed = 0; seed < 5; ++seed) texts.insert(draw(seed));
  EXPECT_EQ(texts.size(), 5U);
}

TEST_F(BlockDiffusion, a_higher_threshold_takes_more_steps) {
  int before = 0;
  for (const double threshold : {0.1, 0.5, 0.9, 1.0}) {
    options.decode.canvas_sampler = confidence(threshold);
    const int steps = run().counts.steps;
    EXPECT_GE(steps, before) << threshold;
    before = steps;
  }
  EXPECT_GT(before, 32);
}

/// Keeps one position more with every step, the surest ones of that step, and forgets the others.
class Anew : public CanvasSampler {
 public:
  bool is_sticky() const override { return false; }
  void decide(const CanvasStep& step, std::span<std::uint8_t> accept) const override {
    std::ranges::fill(accept, std::uint8_t{0});
    for (const std::uint8_t fixed : step.is_fixed) EXPECT_EQ(fixed, 0);
    for (std::int32_t kept = 0; kept <= step.step; ++kept) {
      std::size_t best = accept.size();
      for (std::size_t i = 0; i < accept.size(); ++i) {
        const bool is_better = best == accept.size() || step.confidence[i] > step.confidence[best];
        if (accept[i] == 0 && is_better) best = i;
      }
      accept[best] = 1;
    }
  }
};

TEST_F(BlockDiffusion, samplers_that_decide_anew_may_take_tokens_back) {
  options.decode.canvas_sampler = std::make_shared<const Anew>();
  options.max_tokens = 32;
  const Generation result = run();
  ASSERT_EQ(record.canvases.size(), 1U);
  const auto& steps = record.canvases[0].steps;
  ASSERT_EQ(steps.size(), 32U);
  bool has_taken_back = false;
  for (std::size_t step = 0; step < steps.size(); ++step) {
    const auto masks = static_cast<std::size_t>(std::ranges::count(steps[step], kMask));
    EXPECT_EQ(masks, 31 - step);
    for (std::size_t i = 0; step > 0 && i < 32; ++i) {
      has_taken_back =
          has_taken_back || (steps[step - 1][i] != kMask && steps[step][i] != steps[step - 1][i]);
    }
  }
  EXPECT_TRUE(has_taken_back);
  EXPECT_EQ(result.ids, steps.back());
}

TEST_F(BlockDiffusion, infilling_writes_exactly_what_fits_between_two_texts) {
  options.max_tokens = 20;
  options.decode.suffix = {400, 401, 402, 403};
  const Generation result = run();
  EXPECT_EQ(result.ids.size(), 20U);
  EXPECT_EQ(result.reason, FinishReason::length);
  EXPECT_EQ(std::ranges::count(result.ids, kMask), 0);
  // What follows is seen: another suffix gives another text.
  options.decode.suffix = {1513, 333, 576, 510};
  EXPECT_NE(run().ids, result.ids);
  // Over several canvases too.
  options.max_tokens = 50;
  EXPECT_EQ(run().ids.size(), 50U);
  EXPECT_EQ(record.canvases.size(), 2U);
  EXPECT_EQ(record.canvases[1].steps[0].size(), 18U);
}

TEST_F(BlockDiffusion, infilling_beyond_the_context_is_refused) {
  options.max_tokens = 500;  // of 512
  options.decode.suffix = {400, 401, 402, 403};
  EXPECT_THROW(run(), Error);
}

TEST_F(BlockDiffusion, the_context_bounds_the_text) {
  options.max_tokens = 1000;
  const Generation result = run();
  EXPECT_EQ(result.reason, FinishReason::length);
  EXPECT_EQ(result.ids.size() + prompt.size(), 513U);  // as without canvases
}

TEST_F(BlockDiffusion, canvases_may_take_other_lengths_unless_one_is_given) {
  options.decode.block_length = 0;
  options.max_tokens = 200;
  const Generation result = run();
  EXPECT_EQ(result.ids.size(), 200U);
  EXPECT_EQ(std::ranges::count(result.ids, kMask), 0);
  for (const auto& canvas : record.canvases) {
    EXPECT_LE(canvas.steps[0].size(), 32U);
    EXPECT_GE(canvas.steps[0].size(), 1U);
  }
  const auto& rates = test.engine.statistics().canvases;
  for (const int length : {4, 8, 16, 32}) EXPECT_GT(rates.steps(length), 0) << length;
  EXPECT_LE(rates.steps(4), 4);
}

TEST_F(BlockDiffusion, long_prompts_are_fed_by_whole_blocks) {
  Ids ids;
  for (int i = 0; i < 300; ++i) ids.push_back(prompt[static_cast<std::size_t>(i) % prompt.size()]);
  for (const int block : {32, 48}) {  // 48 does not divide the grid of prompts
    const Visibility visibility{VisibilityKind::block_causal, block};
    Sequence whole = test.engine.new_sequence();
    const Feed feed{&whole, ids, Wanted::all, RowForm::prompt, visibility};
    const auto want = test.engine.forward({&feed, 1}).values;
    Sequence parts = test.engine.new_sequence();
    EXPECT_EQ(test.engine.feed_prompt(parts, ids, Wanted::all, {}, visibility).values, want)
        << block;
  }
}

TEST_F(BlockDiffusion, a_grammar_is_refused) {
  struct Any : TokenFilter {
    void apply(std::span<float>) override {}
    void accept(std::int32_t) override {}
    bool is_finished() const override { return false; }
  } filter;
  options.filter = &filter;
  EXPECT_THROW(run(), Error);
}

}  // namespace
}  // namespace quiver::test
