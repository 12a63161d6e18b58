// A text's tokens do not depend on what else the scheduler does: the contract that all else rests
// on.
#include <gtest/gtest.h>

#include "tests/support/conv_model.hpp"
#include "tests/support/models.hpp"
#include "tests/support/texts.hpp"

namespace quiver::test {
namespace {

struct Setting {
  const char* name;
  int threads;
  int pages;  ///< Pages of each layer that the pool has; 0 = any number.
  std::size_t prefix_limit;
  int max_sequences;
  int max_prompt_rows;
};

constexpr std::size_t kMany = std::size_t{1} << 30U;

class BatchInvariance : public testing::TestWithParam<Setting> {
 protected:
  /// 33 texts of various lengths, greedy and drawn; some begin alike.
  static std::vector<TestText> make_texts(int vocabulary) {
    std::mt19937 random(11);
    const auto beginning = random_tokens(random, 300, vocabulary);
    std::vector<TestText> texts;
    for (int i = 0; i < 33; ++i) {
      const int length = i % 3 == 0 ? 300 + i * 5 : 1 + static_cast<int>(random() % 140);
      TestText text{random_tokens(random, length, vocabulary), 4 + i % 17, i % 2 == 1,
                    static_cast<std::uint64_t>(i)};
      if (i % 6 == 0) std::copy(beginning.begin(), beginning.end(), text.prompt.begin());
      texts.push_back(std::move(text));
    }
    return texts;
  }

  static void check(const std::shared_ptr<const LoadedModel>& model,
                    const ComputeOptions& compute) {
    const Setting& setting = GetParam();
    TestEngine plain{model, 1, "f32", compute};
    const auto texts = make_texts(plain.engine.info().vocabulary);
    std::vector<Alone> alone;
    for (const TestText& text : texts) alone.push_back(generate_alone(plain.engine, text));

    const std::size_t page = page_bytes(plain.engine.layout(), 1);
    TestEngine test{model, setting.threads, "f32", compute,
                    static_cast<std::size_t>(setting.pages) * page};
    SchedulerOptions options;
    options.max_sequences = setting.max_sequences;
    options.max_prompt_rows = setting.max_prompt_rows;
    options.prefix_limit_bytes = setting.prefix_limit;
    {
      Scheduler scheduler(test.engine, options);
      std::vector<std::shared_ptr<Outcome>> outcomes;
      on_inference_thread(scheduler, [&] {
        for (const TestText& text : texts) outcomes.push_back(submit(scheduler, text.request()));
      });
      for (std::size_t i = 0; i < texts.size(); ++i)
        expect_same(outcomes[i], alone[i], "text " + std::to_string(i));
      EXPECT_EQ(scheduler.counters().preemptions > 0, setting.pages != 0);
      EXPECT_EQ(scheduler.counters().shared_tokens > 0, setting.prefix_limit != 0);
      EXPECT_EQ(scheduler.counters().requests, 0U);
      EXPECT_EQ(scheduler.counters().suspended, 0U);
    }
    EXPECT_EQ(test.engine.pool().used_bytes(), 0U);
  }
};

TEST_P(BatchInvariance, tokens_among_others_are_those_of_a_text_alone) {
  check(load_model(shared("reference/llama/llama/checkpoint")), {ComputeMode::exact});
}

TEST_P(BatchInvariance, the_fast_mode_keeps_a_texts_bits_too) {
  for (const ActivationChoice activations : {ActivationChoice::automatic, ActivationChoice::int8}) {
    check(load_model(shared("reference/convert/llama_a/converted")),
          {ComputeMode::fast, activations});
  }
}

TEST_P(BatchInvariance, convolution_windows_follow_their_texts) {
  check(ConvCheckpoint().load(), {ComputeMode::exact});
}

INSTANTIATE_TEST_SUITE_P(
    all, BatchInvariance,
    testing::Values(Setting{"one_thread", 1, 0, kMany, 33, 256},
                    Setting{"two_threads", 2, 0, kMany, 33, 256},
                    Setting{"without_sharing", 2, 0, 0, 33, 256},
                    Setting{"few_at_once", 2, 0, kMany, 3, 256},
                    Setting{"wide_passes", 2, 0, kMany, 33, 2000},
                    Setting{"short_of_pages", 2, 14, kMany, 33, 256},
                    Setting{"short_of_pages_without_sharing", 1, 14, 0, 33, 256},
                    Setting{"short_of_pages_in_wide_passes", 2, 20, kMany, 33, 2000}),
    [](const testing::TestParamInfo<Setting>& setting) { return setting.param.name; });

}  // namespace
}  // namespace quiver::test
