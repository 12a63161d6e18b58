// Plain texts, speculation and block diffusion side by side in one scheduler: each as if alone.
#include <future>
#include <random>

#include "core/decode/scheduler.hpp"
#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

using Ids = std::vector<std::int32_t>;

/// A text and how it is decoded.
struct Task {
  Ids prompt;
  GenerationOptions options;
  bool is_drawn = false;

  SamplerChain samplers() const {
    if (!is_drawn) return SamplerChain();
    return SamplerChain(
        {standard_sampler("temperature", {{"t", 0.9}}), standard_sampler("draw", {})});
  }
};

class DecodeScheduler : public testing::Test {
 protected:
  std::vector<Task> tasks(int count, std::size_t longest_prompt) {
    std::vector<Task> all;
    for (int i = 0; i < count; ++i) {
      Task& task = all.emplace_back();
      const std::size_t length = 1 + random() % longest_prompt;
      for (std::size_t t = 0; t < length; ++t) {
        // Some begin alike, so that there is something to share.
        const auto token = i % 2 == 0 ? t * 7 % 2000 : random() % 2000;
        task.prompt.push_back(static_cast<std::int32_t>(token));
      }
      task.is_drawn = random() % 2 == 0;
      task.options.seed = random();
      task.options.max_tokens = static_cast<int>(1 + random() % 60);
      switch (random() % 4) {
        case 0: task.options.decode.mode = DecodeMode::autoregressive; break;
        case 1: break;  // drafts of any length: tokens do not depend on it
        case 2:
          task.options.decode.mode = DecodeMode::self_speculation;
          task.options.decode.draft_tokens = static_cast<int>(2 + random() % 8);
          break;
        default:
          task.options.decode.mode = DecodeMode::block_diffusion;
          task.options.decode.block_length = 16;
          task.options.decode.canvas_sampler = confidence(0.4);
          break;
      }
    }
    return all;
  }

  /// Runs all tasks at once; each must give what it gives alone.
  void run(const std::vector<Task>& all, std::size_t pages) {
    std::vector<Ids> alone;
    for (const Task& task : all) {
      TestEngine test{model, 1};
      alone.push_back(write(test.engine, task.prompt, task.samplers(), task.options).ids);
    }
    const std::size_t page = page_bytes(TestEngine(model, 1).engine.layout(), 1);
    TestEngine test{model, 2, "f32", {ComputeMode::exact}, pages * page};
    std::vector<std::promise<RequestEnd>> ends(all.size());
    std::vector<Ids> tokens(all.size());
    {
      Scheduler scheduler(test.engine);
      for (std::size_t i = 0; i < all.size(); ++i) {
        Request request;
        request.prompt = all[i].prompt;
        request.samplers = all[i].samplers();
        request.rules = all[i].options;
        request.decode = all[i].options.decode;
        request.rules.on_token = [&tokens, i](std::int32_t token) {
          tokens[i].push_back(token);
          return true;
        };
        request.on_end = [&ends, i](const RequestEnd& end) { ends[i].set_value(end); };
        scheduler.submit(std::move(request));
      }
      for (std::size_t i = 0; i < all.size(); ++i) {
        const RequestEnd end = ends[i].get_future().get();
        EXPECT_FALSE(end.error.has_value()) << i << ": " << end.error->what();
        EXPECT_EQ(tokens[i], alone[i]) << i << ", " << decode_mode_name(all[i].options.decode.mode);
        EXPECT_EQ(end.generated_tokens, alone[i].size());
        preemptions += end.preemptions;
        shared_tokens += end.shared_tokens;
      }
    }
  }

  std::shared_ptr<const LoadedModel> model = load_dhara(shared("models/dhara-tiny-real"));
  std::mt19937 random{11};
  int preemptions = 0;
  std::size_t shared_tokens = 0;
};

TEST_F(DecodeScheduler, ragged_texts_of_all_kinds_are_as_if_alone) {
  run(tasks(14, 40), 0);
}

TEST_F(DecodeScheduler, long_prompts_are_shared_by_their_rule_only) {
  auto all = tasks(8, 40);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].prompt.clear();
    for (int t = 0; t < 300; ++t) all[i].prompt.push_back(t * 7 % 2000);
    all[i].options.max_tokens = 20;
  }
  run(all, 0);
  EXPECT_GT(shared_tokens, 0U);
}

TEST_F(DecodeScheduler, preemption_in_the_middle_of_rounds_and_canvases_changes_nothing) {
  auto all = tasks(9, 80);
  for (Task& task : all) task.options.max_tokens = 50;
  run(all, 3);
  EXPECT_GT(preemptions, 0);
}

TEST_F(DecodeScheduler, what_a_model_cannot_do_is_refused_at_the_door) {
  TestEngine llama{load_model(shared("reference/llama/llama/checkpoint"))};
  Scheduler scheduler(llama.engine);
  Request request;
  request.prompt = {1, 2};
  request.decode.mode = DecodeMode::self_speculation;
  EXPECT_THROW(scheduler.submit(std::move(request)), Error);
}

}  // namespace
}  // namespace quiver::test
