// The scheduler at work: turns, sharing and preemption, seen through what requests are told.
#include <gtest/gtest.h>

#include <pthread.h>
#include <time.h>

#include <thread>

#include "tests/support/conv_model.hpp"
#include "tests/support/models.hpp"
#include "tests/support/texts.hpp"

namespace quiver::test {
namespace {

constexpr int kGrid = Engine::kPromptGrid;

class Scheduling : public testing::Test {
 protected:
  TestText text(int length, int max_tokens) {
    return {random_tokens(random, length, kConvVocabulary), max_tokens, true, random()};
  }
  /// `count` tokens of another text, followed by others.
  TestText beginning_like(const TestText& other, std::size_t count, int more) {
    TestText text{other.prompt, 6, false, 0};
    text.prompt.resize(count);
    const auto rest = random_tokens(random, more, kConvVocabulary);
    text.prompt.insert(text.prompt.end(), rest.begin(), rest.end());
    return text;
  }
  Alone alone(const TestText& text) {
    TestEngine plain{model, 1};
    return generate_alone(plain.engine, text);
  }
  std::unique_ptr<TestEngine> engine_with_pages(int pages) {
    const std::size_t page = page_bytes(TestEngine(model, 1).engine.layout(), 1);
    return std::make_unique<TestEngine>(model, 2, "f32", ComputeOptions{ComputeMode::exact},
                                        static_cast<std::size_t>(pages) * page);
  }
  /// A request that writes down each step of its prompt ('p') and each token ('t') with its name.
  Request logged(const TestText& text, char name) {
    Request request = text.request();
    request.on_prompt = [this, name](std::size_t) { log += {'p', name, ' '}; };
    request.rules.on_token = [this, name](std::int32_t) {
      log += {'t', name, ' '};
      return true;
    };
    return request;
  }

  std::mt19937 random{3};
  ConvCheckpoint checkpoint;
  std::shared_ptr<const LoadedModel> model = checkpoint.load();
  std::string log;  // written by the inference thread, read after an end
};

TEST_F(Scheduling, decoding_goes_on_between_the_chunks_of_a_long_prompt) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  std::shared_ptr<Outcome> ends[2];
  on_inference_thread(scheduler, [&] {
    ends[0] = submit(scheduler, logged(text(3, 5), 'a'));
    ends[1] = submit(scheduler, logged(text(4 * kGrid, 1), 'L'));
  });
  for (const auto& outcome : ends) outcome->end.wait();
  EXPECT_EQ(log, "pa ta ta pL ta pL ta pL ta pL tL ");
}

TEST_F(Scheduling, prompts_take_turns) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  on_inference_thread(scheduler, [&] {
    outcomes.push_back(submit(scheduler, logged(text(4 * kGrid, 1), 'L')));
    outcomes.push_back(submit(scheduler, logged(text(3 * kGrid, 1), 'M')));
    outcomes.push_back(submit(scheduler, logged(text(100, 1), 'a')));
    outcomes.push_back(submit(scheduler, logged(text(100, 1), 'b')));
    outcomes.push_back(submit(scheduler, logged(text(100, 1), 'c')));
  });
  for (const auto& outcome : outcomes) outcome->end.wait();
  EXPECT_EQ(log, "pL pM pa ta pb tb pc tc pL pM pL pM tM pL tL ");
}

TEST_F(Scheduling, prompts_that_keep_coming_do_not_starve_a_long_one) {
  TestEngine test{model};
  int left = 20;
  std::promise<void> last;
  std::function<void()> next;
  const TestText filler = text(200, 1);
  Scheduler scheduler(test.engine);
  // Each of these submits the next one, so that there is always one more that fits beside nothing.
  next = [&] {
    if (--left < 0) return last.set_value();
    Request request = logged(filler, 's');
    request.on_end = [&](const RequestEnd&) { next(); };
    scheduler.submit(std::move(request));
  };
  std::shared_ptr<Outcome> outcome;
  on_inference_thread(scheduler, [&] {
    next();
    outcome = submit(scheduler, logged(text(3 * kGrid, 1), 'L'));
  });
  outcome->end.wait();
  last.get_future().wait();
  EXPECT_EQ(log.substr(0, 33), "ps ts pL ps ts pL ps ts pL tL ps ");
}

TEST_F(Scheduling, a_later_text_shares_the_blocks_of_an_equal_beginning) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  const TestText first = text(700, 4);
  const TestText second = beginning_like(first, 600, 50);
  const TestText third = beginning_like(first, 200, 400);
  expect_same(submit(scheduler, first.request()), alone(first));
  const std::uint64_t rows = scheduler.counters().prompt_rows;
  EXPECT_EQ(rows, 700U);
  auto outcome = submit(scheduler, second.request());
  EXPECT_EQ(expect_same(outcome, alone(second)).shared_tokens, 512U);
  EXPECT_EQ(scheduler.counters().prompt_rows, rows + 650 - 512);
  outcome = submit(scheduler, third.request());
  EXPECT_EQ(expect_same(outcome, alone(third)).shared_tokens, 0U);
}

TEST_F(Scheduling, the_last_token_of_a_prompt_is_always_computed) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  const TestText whole = text(2 * kGrid, 5);
  for (const std::size_t shared : {0, kGrid, kGrid}) {
    const auto outcome = submit(scheduler, whole.request());
    EXPECT_EQ(expect_same(outcome, alone(whole)).shared_tokens, shared);
  }
  const TestText longer = beginning_like(whole, 2 * kGrid, 1);
  EXPECT_EQ(submit(scheduler, longer.request())->end.get().shared_tokens, 2U * kGrid)
      << "the whole block was kept, though its own text could not share it";
}

TEST_F(Scheduling, decoded_tokens_are_never_shared) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  const TestText first = text(kGrid + 40, 2 * kGrid);
  auto outcome = submit(scheduler, first.request());
  outcome->end.wait();
  TestText turn = first;  // the whole text so far comes back as a prompt
  turn.max_tokens = 3;
  turn.prompt.insert(turn.prompt.end(), outcome->tokens.begin(), outcome->tokens.end());
  ASSERT_GT(turn.prompt.size(), 3U * kGrid);
  EXPECT_EQ(submit(scheduler, turn.request())->end.get().shared_tokens, 1U * kGrid);
  EXPECT_EQ(submit(scheduler, turn.request())->end.get().shared_tokens, 3U * kGrid)
      << "now they were a prompt";
}

TEST_F(Scheduling, requests_under_other_keys_share_nothing) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  Request request = text(400, 1).request();
  for (const char* key : {"model", "model+adapter", ""}) {
    request.prefix_key = key;
    EXPECT_EQ(submit(scheduler, request)->end.get().shared_tokens, 0U) << key;
    EXPECT_EQ(submit(scheduler, request)->end.get().shared_tokens, 1U * kGrid) << key;
  }
}

TEST_F(Scheduling, texts_in_flight_compute_an_equal_beginning_once) {
  for (const int max_prompt_rows : {kGrid, 8 * kGrid}) {
    TestEngine test{model};
    SchedulerOptions options;
    options.max_prompt_rows = max_prompt_rows;
    Scheduler scheduler(test.engine, options);
    const TestText whole = text(3 * kGrid + 10, 6);
    const Alone expected = alone(whole);
    std::vector<std::shared_ptr<Outcome>> outcomes;
    const std::uint64_t before = 1;  // the prompt of what runs the lambda
    on_inference_thread(scheduler, [&] {
      for (int i = 0; i < 5; ++i) outcomes.push_back(submit(scheduler, whole.request()));
    });
    for (const auto& outcome : outcomes) expect_same(outcome, expected);
    EXPECT_EQ(scheduler.counters().prompt_rows - before, 3U * kGrid + 5 * 10);
    EXPECT_EQ(scheduler.counters().shared_tokens, 4U * 3 * kGrid);
  }
}

TEST_F(Scheduling, the_youngest_makes_room_and_goes_on_with_the_same_bits) {
  // Both begin on two pages of the four; the third page of either leaves room for one only.
  const auto test = engine_with_pages(4);
  Scheduler scheduler(test->engine);
  const TestText old = text(100, 150);
  const TestText young = text(90, 160);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  on_inference_thread(scheduler, [&] {
    outcomes.push_back(submit(scheduler, logged(old, 'o')));
    outcomes.push_back(submit(scheduler, logged(young, 'y')));
  });
  EXPECT_EQ(expect_same(outcomes[0], alone(old)).preemptions, 0);
  EXPECT_EQ(expect_same(outcomes[1], alone(young)).preemptions, 1);
  EXPECT_EQ(scheduler.counters().preemptions, 1U);
  EXPECT_EQ(scheduler.counters().decode_rows, 149U + 159U) << "nothing is computed again";
  EXPECT_EQ(scheduler.counters().prompt_rows, 1U + 190U);
}

TEST_F(Scheduling, unused_prefixes_go_before_a_text_is_preempted) {
  const auto test = engine_with_pages(8);
  Scheduler scheduler(test->engine);
  submit(scheduler, text(kGrid, 1).request())->end.wait();
  EXPECT_GT(scheduler.counters().prefix_bytes, 0U);
  const TestText big = text(400, 20);
  expect_same(submit(scheduler, big.request()), alone(big));
  EXPECT_EQ(scheduler.counters().preemptions, 0U);
  const TestText other = text(500, 10);
  expect_same(submit(scheduler, other.request()), alone(other));
  EXPECT_EQ(scheduler.counters().preemptions, 0U);
}

TEST_F(Scheduling, a_text_is_preempted_inside_its_prompt) {
  const auto test = engine_with_pages(11);
  Scheduler scheduler(test->engine);
  const TestText old = text(2 * kGrid, 3);
  const TestText young = text(2 * kGrid, 3);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  on_inference_thread(scheduler, [&] {
    outcomes.push_back(submit(scheduler, logged(old, 'o')));
    outcomes.push_back(submit(scheduler, logged(young, 'y')));
  });
  EXPECT_EQ(expect_same(outcomes[0], alone(old)).preemptions, 0);
  EXPECT_EQ(expect_same(outcomes[1], alone(young)).preemptions, 1);
  EXPECT_EQ(log, "po py po to to to py ty ty ty ");
}

TEST_F(Scheduling, many_small_texts_wait_for_their_first_page) {
  const auto test = engine_with_pages(2);
  Scheduler scheduler(test->engine);
  std::vector<TestText> texts;
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 12; ++i) texts.push_back(text(20 + i, 5));
  on_inference_thread(scheduler, [&] {
    for (const TestText& text : texts) outcomes.push_back(submit(scheduler, text.request()));
  });
  for (std::size_t i = 0; i < texts.size(); ++i) expect_same(outcomes[i], alone(texts[i]));
}

TEST_F(Scheduling, an_idle_scheduler_uses_no_cpu) {
  TestEngine test{model};
  Scheduler scheduler(test.engine);
  clockid_t clock{};
  on_inference_thread(scheduler,
                      [&] { ASSERT_EQ(pthread_getcpuclockid(pthread_self(), &clock), 0); });
  const auto used_ms = [&] {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
  };
  const double before = used_ms();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // what is measured, not a wait
  EXPECT_LT(used_ms() - before, 20);
}

}  // namespace
}  // namespace quiver::test
