// Everything that can end a request: each ends that one alone, with its own reason.
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/conv_model.hpp"
#include "tests/support/float_pages.hpp"
#include "tests/support/models.hpp"
#include "tests/support/texts.hpp"

namespace quiver::test {
namespace {

/// Fails once the history is `length` long.
class Failing : public Sampler {
 public:
  explicit Failing(std::size_t length) : length_(length) {}
  void apply(Candidates&, const SamplerContext& context, std::span<std::byte>) const override {
    if (context.history().size() >= length_)
      throw Error(ErrorCode::plugin, "the sampler failed", "sampling");
  }

 private:
  std::size_t length_;
};

/// Allows a list of tokens, one after another.
class Script : public TokenFilter {
 public:
  explicit Script(std::vector<std::int32_t> tokens) : tokens_(std::move(tokens)) {}
  void apply(std::span<float> logits) override {
    if (at_ == tokens_.size()) throw std::runtime_error("the script\nis over");
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (static_cast<std::int32_t>(i) != tokens_[at_])
        logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  void accept(std::int32_t) override { ++at_; }
  bool is_finished() const override { return ends_ && at_ == tokens_.size(); }
  void end_with_the_script() { ends_ = true; }

 private:
  std::vector<std::int32_t> tokens_;
  std::size_t at_ = 0;
  bool ends_ = false;
};

/// Fails when told to.
class FailingKv : public FloatPages {
 public:
  explicit FailingKv(std::function<void(int slot)> before) : before_(std::move(before)) {}
  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    before_(slot);
    FloatPages::write(shape, page, slot, keys, values);
  }

 private:
  std::function<void(int slot)> before_;
};

class Ends : public testing::Test {
 protected:
  TestText text(int length, int max_tokens) {
    return {random_tokens(random, length, 200), max_tokens, true, random()};
  }
  /// Runs `request` beside two others, which must not notice.
  RequestEnd run(Request request, std::vector<std::int32_t>* tokens = nullptr) {
    return run_in(test.engine, std::move(request), tokens);
  }
  RequestEnd run_in(Engine& engine, Request request, std::vector<std::int32_t>* tokens = nullptr) {
    const TestText neighbours[] = {text(20, 30), text(40, 12)};
    std::vector<Alone> alone;
    for (const TestText& neighbour : neighbours)
      alone.push_back(generate_alone(plain.engine, neighbour));
    Scheduler scheduler(engine);
    std::vector<std::shared_ptr<Outcome>> outcomes;
    on_inference_thread(scheduler, [&] {
      outcomes.push_back(submit(scheduler, neighbours[0].request()));
      outcomes.push_back(submit(scheduler, std::move(request)));
      outcomes.push_back(submit(scheduler, neighbours[1].request()));
    });
    RequestEnd end = outcomes[1]->end.get();
    if (tokens != nullptr) *tokens = outcomes[1]->tokens;
    expect_same(outcomes[0], alone[0], "one neighbour");
    expect_same(outcomes[2], alone[1], "the other neighbour");
    EXPECT_EQ(end.generated_tokens, outcomes[1]->tokens.size());
    return end;
  }
  template <class Action>
  static ErrorCode refused(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.code();
    }
    ADD_FAILURE() << "was accepted";
    return ErrorCode::internal;
  }

  std::mt19937 random{9};
  std::shared_ptr<const LoadedModel> model = load_model(shared("reference/llama/llama/checkpoint"));
  TestEngine plain{model, 1};
  TestEngine test{model};
};

TEST_F(Ends, an_end_id_a_callback_and_a_filter_stop_a_text) {
  const TestText whole = text(30, 10);
  const auto ids = generate_alone(plain.engine, whole).ids;
  std::vector<std::int32_t> tokens;
  Request request = whole.request();
  request.rules.end_ids = {ids[4]};
  EXPECT_EQ(run(request, &tokens).reason, FinishReason::stop);
  EXPECT_EQ(tokens.back(), ids[4]);
  request = whole.request();
  request.rules.on_token = [&](std::int32_t token) { return token != ids[4]; };
  EXPECT_EQ(run(request, &tokens).reason, FinishReason::stop);
  EXPECT_EQ(tokens.back(), ids[4]);
  request = whole.request();
  Script script({7, 8, 9});
  script.end_with_the_script();
  request.rules.filter = &script;
  EXPECT_EQ(run(request, &tokens).reason, FinishReason::stop);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{7, 8, 9}));
}

TEST_F(Ends, no_tokens_are_generated_where_none_are_wanted) {
  const RequestEnd end = run(text(300, 0).request());
  EXPECT_EQ(end.reason, FinishReason::length);
  EXPECT_EQ(end.generated_tokens, 0U);
  EXPECT_EQ(end.prompt_tokens, 300U);
}

TEST_F(Ends, the_context_length_ends_a_text) {
  const int context = test.engine.info().context_length;
  const RequestEnd end = run(text(context - 2, 100).request());
  EXPECT_EQ(end.reason, FinishReason::length);
  EXPECT_FALSE(end.error.has_value());
  EXPECT_EQ(end.generated_tokens, 3U) << "two that fit, and the one after them";
}

TEST_F(Ends, an_exception_of_a_sampler_ends_its_text) {
  Request request = text(30, 10).request();
  request.samplers = SamplerChain({std::make_shared<const Failing>(34)});
  const RequestEnd end = run(std::move(request));
  ASSERT_TRUE(end.error.has_value());
  EXPECT_EQ(end.error->code(), ErrorCode::plugin);
  EXPECT_EQ(end.error->message(), "the sampler failed");
  EXPECT_EQ(end.generated_tokens, 4U);
}

TEST_F(Ends, an_exception_of_a_filter_ends_its_text) {
  Request request = text(30, 10).request();
  Script script({7, 8, 9});
  request.rules.filter = &script;
  std::vector<std::int32_t> tokens;
  const RequestEnd end = run(std::move(request), &tokens);
  ASSERT_TRUE(end.error.has_value());
  EXPECT_EQ(end.error->code(), ErrorCode::internal);
  EXPECT_EQ(std::string(end.error->what()).find('\n'), std::string::npos);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{7, 8, 9}));
}

TEST_F(Ends, a_filter_that_leaves_nothing_ends_its_text) {
  Request request = text(30, 10).request();
  request.samplers = {};
  Script script({-1});
  request.rules.filter = &script;
  const RequestEnd end = run(std::move(request));
  ASSERT_TRUE(end.error.has_value());
  EXPECT_EQ(end.error->code(), ErrorCode::bad_input);
}

TEST_F(Ends, callbacks_that_throw_although_they_must_not_hurt_nobody_else) {
  Request request = text(30, 10).request();
  request.on_prompt = [](std::size_t) { throw std::runtime_error("on_prompt"); };
  EXPECT_TRUE(run(std::move(request)).error.has_value());
  request = text(30, 10).request();
  request.on_end = [](const RequestEnd&) { throw 1; };
  EXPECT_FALSE(run(std::move(request)).error.has_value());
}

TEST_F(Ends, a_text_that_outgrows_the_cache_fails_alone) {
  const std::size_t page = page_bytes(test.engine.layout(), 1);
  TestEngine tight{model, 2, "f32", {ComputeMode::exact}, 2 * page};
  std::vector<std::int32_t> tokens;
  const TestText big = text(100, 100);
  const RequestEnd end = run_in(tight.engine, big.request(), &tokens);
  ASSERT_TRUE(end.error.has_value());
  EXPECT_EQ(end.error->code(), ErrorCode::resources);
  EXPECT_EQ(tokens.size(), 29U) << "128 tokens fit, and one more is chosen";
  auto expected = generate_alone(plain.engine, big).ids;
  expected.resize(29);
  EXPECT_EQ(tokens, expected);
  EXPECT_EQ(tight.engine.pool().used_bytes(), 0U);
}

TEST_F(Ends, what_cannot_be_run_is_refused_at_once) {
  const std::size_t page = page_bytes(test.engine.layout(), 1);
  TestEngine tight{model, 1, "f32", {ComputeMode::exact}, 2 * page};
  Scheduler scheduler(tight.engine);
  const auto submit_prompt = [&](std::vector<std::int32_t> prompt) {
    return refused([&] {
      Request request;
      request.prompt = std::move(prompt);
      request.on_end = [](const RequestEnd&) { ADD_FAILURE() << "was told of an end"; };
      scheduler.submit(std::move(request));
    });
  };
  const int vocabulary = test.engine.info().vocabulary;
  EXPECT_EQ(submit_prompt({}), ErrorCode::usage);
  EXPECT_EQ(submit_prompt({3, vocabulary}), ErrorCode::bad_input);
  EXPECT_EQ(submit_prompt({-1}), ErrorCode::bad_input);
  EXPECT_EQ(submit_prompt(std::vector<std::int32_t>(513, 5)), ErrorCode::bad_input);
  EXPECT_EQ(submit_prompt(std::vector<std::int32_t>(129, 5)), ErrorCode::resources);
  EXPECT_EQ(scheduler.counters().requests, 0U);
  const TestText small = text(50, 5);
  expect_same(submit(scheduler, small.request()), generate_alone(plain.engine, small));
}

TEST_F(Ends, requests_beyond_the_queue_are_refused_until_one_has_ended) {
  SchedulerOptions options;
  options.max_sequences = 2;
  options.max_waiting = 1;
  Scheduler scheduler(test.engine, options);
  const TestText small = text(10, 6);
  const Alone expected = generate_alone(plain.engine, small);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  on_inference_thread(scheduler, [&] {  // which is one of the three itself
    outcomes.push_back(submit(scheduler, small.request()));
    outcomes.push_back(submit(scheduler, small.request()));
    EXPECT_EQ(refused([&] { submit(scheduler, small.request()); }), ErrorCode::resources);
  });
  for (const auto& outcome : outcomes) expect_same(outcome, expected);
  expect_same(submit(scheduler, small.request()), expected);
}

TEST_F(Ends, a_text_is_cancelled_while_it_waits) {
  std::string log;  // written by the inference thread
  SchedulerOptions options;
  options.max_sequences = 1;
  Scheduler scheduler(test.engine, options);
  const TestText running = text(10, 3);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  on_inference_thread(scheduler, [&] {
    Request request = running.request();
    request.rules.on_token = [&](std::int32_t) {
      log += "token ";
      return true;
    };
    outcomes.push_back(submit(scheduler, std::move(request)));
    request = text(10, 20).request();
    request.on_end = [&](const RequestEnd&) { log += "end "; };
    outcomes.push_back(submit(scheduler, std::move(request)));
    outcomes[1]->handle->cancel();
  });
  const RequestEnd end = outcomes[1]->end.get();
  EXPECT_EQ(end.reason, FinishReason::interrupted);
  EXPECT_FALSE(end.error.has_value());
  expect_same(outcomes[0], generate_alone(plain.engine, running));
  EXPECT_EQ(log, "end token token token ") << "nobody has to end before it";
  EXPECT_EQ(scheduler.counters().prompt_rows, 11U) << "it was never begun";
}

TEST_F(Ends, a_text_is_cancelled_inside_its_prompt) {
  const auto handle = std::make_shared<std::optional<RequestHandle>>();
  Scheduler scheduler(test.engine);
  Request request = text(500, 20).request();
  request.on_prompt = [handle](std::size_t done) {
    EXPECT_EQ(done, 256U);
    (*handle)->cancel();
  };
  std::shared_ptr<Outcome> outcome;
  on_inference_thread(scheduler, [&] {
    outcome = submit(scheduler, std::move(request));
    *handle = outcome->handle;
  });
  EXPECT_EQ(outcome->end.get().reason, FinishReason::interrupted);
  EXPECT_EQ(outcome->tokens.size(), 0U);
}

TEST_F(Ends, a_text_is_cancelled_while_it_is_decoded) {
  const TestText whole = text(30, 20);
  const auto handle = std::make_shared<std::optional<RequestHandle>>();
  Scheduler scheduler(test.engine);
  Request request = whole.request();
  int count = 0;
  request.rules.on_token = [&](std::int32_t) {
    if (++count == 3) (*handle)->cancel();
    return true;
  };
  std::shared_ptr<Outcome> outcome;
  on_inference_thread(scheduler, [&] {
    outcome = submit(scheduler, std::move(request));
    *handle = outcome->handle;
  });
  EXPECT_EQ(outcome->end.get().reason, FinishReason::interrupted);
  auto expected = generate_alone(plain.engine, whole).ids;
  expected.resize(3);
  EXPECT_EQ(outcome->tokens, expected);
  outcome->handle->cancel();  // does nothing
}

TEST_F(Ends, a_pass_that_fails_is_run_again_text_by_text) {
  std::atomic<int> writes{0};
  const auto once = std::make_shared<const FailingKv>([&](int) {
    if (++writes == 150) throw Error(ErrorCode::resources, "memory was short for a moment");
  });
  ThreadPool threads(2);
  Engine engine(model, once, threads, {ComputeMode::exact});
  const TestText whole = text(60, 10);
  std::vector<std::int32_t> tokens;
  EXPECT_FALSE(run_in(engine, whole.request(), &tokens).error.has_value());
  EXPECT_EQ(tokens, generate_alone(plain.engine, whole).ids);
}

TEST_F(Ends, a_text_that_no_pass_can_take_fails_alone) {
  // Only this text reaches slot 60 of a page.
  const auto at_slot = std::make_shared<const FailingKv>([&](int slot) {
    if (slot == 60) throw std::bad_alloc();
  });
  ThreadPool threads(2);
  Engine engine(model, at_slot, threads, {ComputeMode::exact});
  const RequestEnd end = run_in(engine, text(50, 40).request());
  ASSERT_TRUE(end.error.has_value());
  EXPECT_EQ(end.error->code(), ErrorCode::resources);
  EXPECT_EQ(end.generated_tokens, 11U);
}

TEST_F(Ends, the_end_of_the_scheduler_ends_all_that_run_and_wait) {
  std::vector<std::shared_ptr<Outcome>> outcomes;
  std::optional<RequestHandle> handle;
  {
    SchedulerOptions options;
    options.max_sequences = 3;
    Scheduler scheduler(test.engine, options);
    on_inference_thread(scheduler, [&] {
      for (int i = 0; i < 8; ++i) outcomes.push_back(submit(scheduler, text(100, 400).request()));
    });
    handle = outcomes[0]->handle;
  }
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome->end.get().reason, FinishReason::interrupted);
    EXPECT_LT(outcome->tokens.size(), 400U);
  }
  handle->cancel();
  EXPECT_EQ(test.engine.pool().used_bytes(), 0U);
}

TEST_F(Ends, nothing_is_accepted_any_more_while_the_scheduler_ends) {
  std::promise<ErrorCode> told;
  {
    Scheduler scheduler(test.engine);
    Request request = text(10, 400).request();
    request.on_end = [&](const RequestEnd&) {
      told.set_value(refused([&] { scheduler.submit(text(5, 5).request()); }));
    };
    on_inference_thread(scheduler, [&] { scheduler.submit(std::move(request)); });
  }
  EXPECT_EQ(told.get_future().get(), ErrorCode::interrupted);
}

}  // namespace
}  // namespace quiver::test
