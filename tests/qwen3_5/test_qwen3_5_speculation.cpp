// Drafts from the head and from the text itself: the tokens are those of plain decoding, whatever
// chooses them, ends them and runs beside them.
#include <fstream>
#include <future>
#include <random>

#include "core/decode/scheduler.hpp"
#include "tests/qwen3_5/qwen3_5_models.hpp"
#include "tests/support/kv.hpp"
#include "tests/support/standard_samplers.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

using Ids = std::vector<std::int32_t>;

SamplerChain chain(const std::string& name) {
  if (name == "penalty") return penalized(1.3, 20);
  if (name == "draw") {
    return SamplerChain(
        {standard_sampler("temperature", {{"t", 1.0}}), standard_sampler("draw", {})});
  }
  if (name == "mirostat") {  // remembers from token to token
    return SamplerChain({standard_sampler("mirostat-v2", {{"tau", 4}, {"eta", 0.1}})});
  }
  return SamplerChain();
}

/// Allows only ids that leave `remainder` by three, which moves on with each token; complete after
/// some tokens. Can be taken back.
class Counting : public TokenFilter {
 public:
  void apply(std::span<float> logits) override {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (!allows(static_cast<std::int32_t>(i))) {
        logits[i] = -std::numeric_limits<float>::infinity();
      }
    }
  }
  void accept(std::int32_t token) override {
    EXPECT_TRUE(allows(token));
    ++seen_;
  }
  bool is_finished() const override { return seen_ >= 25; }
  bool can_roll_back() const override { return true; }
  void roll_back(std::size_t tokens) override { seen_ -= tokens; }
  bool allows(std::int32_t token) override {
    return static_cast<std::size_t>(token) % 3 == seen_ % 3;
  }

 private:
  std::size_t seen_ = 0;
};

class Speculation : public testing::TestWithParam<DecodeMode> {
 protected:
  Generation run(Engine& engine, const SamplerChain& samplers, GenerationOptions options,
                 DecodeMode mode, int draft_tokens) {
    options.decode.mode = mode;
    options.decode.draft_tokens = draft_tokens;
    Counting filter;
    if (is_filtered) options.filter = &filter;
    Generation result = write(engine, prompt, samplers, options);
    rounds += result.counts.rounds;
    accepted += result.counts.accepted;
    return result;
  }
  void expect_equal(Engine& engine, const std::string& samplers, const GenerationOptions& options) {
    const Ids plain = run(engine, chain(samplers), options, DecodeMode::autoregressive, 0).ids;
    rounds = accepted = 0;
    for (const int rows : {2, 3, 5, 0}) {
      EXPECT_EQ(run(engine, chain(samplers), options, GetParam(), rows).ids, plain)
          << samplers << ", " << rows << " rows";
    }
  }

  std::shared_ptr<const LoadedModel> model = load_qwen3_5(shared("models/qwen3_5-tiny-real"));
  nlohmann::json cases =
      read_json_file(shared("models/qwen3_5-tiny-real") / "expected.json").at("greedy").at("cases");
  Ids prompt = ids_of(cases.at(0).at("input_ids"));
  bool is_filtered = false;
  int rounds = 0;
  int accepted = 0;
};

TEST_P(Speculation, gives_the_tokens_of_plain_decoding_on_all_prompts_and_samplers) {
  TestEngine test{model};
  int number = 0;
  for (const auto& entry : cases) {
    prompt = ids_of(entry.at("input_ids"));
    const bool is_even = number++ % 2 == 0;
    for (const char* samplers : {"greedy", is_even ? "penalty" : "draw", "mirostat"}) {
      GenerationOptions options;
      options.max_tokens = 40;
      options.seed = 5;
      expect_equal(test.engine, samplers, options);
    }
  }
}

TEST_P(Speculation, rounds_give_more_than_a_token_each) {
  TestEngine test{model};
  GenerationOptions options;
  options.max_tokens = 120;
  run(test.engine, SamplerChain(), options, GetParam(), 3);
  EXPECT_GT(rounds, 5);
  EXPECT_GT(accepted, rounds * 5 / 4);
}

TEST_P(Speculation, holds_on_quantized_caches) {
  ThreadPool threads(2);
  for (const int bits : {4, 8}) {
    const auto kv =
        packed_kv("affine", OptionInput::from_text("group=32,bits=" + std::to_string(bits)));
    for (const int recent : {0, 40}) {
      KvPlan plan(kv);
      plan.recent = recent;
      if (recent != 0) plan.fresh = float_kv("f32");
      Engine engine(model, plan, threads, {ComputeMode::exact});
      GenerationOptions options;
      options.max_tokens = 100;  // across a page
      expect_equal(engine, "greedy", options);
    }
  }
}

TEST_P(Speculation, holds_in_fast_mode) {
  for (const auto activations :
       {ActivationChoice::automatic, ActivationChoice::int8, ActivationChoice::float32}) {
    TestEngine test{model, 2, "f32", {ComputeMode::fast, activations}};
    GenerationOptions options;
    options.max_tokens = 40;
    for (const char* samplers : {"greedy", "draw"}) expect_equal(test.engine, samplers, options);
  }
}

TEST_P(Speculation, filters_see_the_tokens_one_by_one_and_drafts_keep_to_them) {
  is_filtered = true;
  TestEngine test{model};
  GenerationOptions options;
  options.max_tokens = 40;
  for (const char* samplers : {"greedy", "draw"}) expect_equal(test.engine, samplers, options);
  EXPECT_GE(accepted, GetParam() == DecodeMode::draft_head ? rounds + 1 : 0) << "some come true";
}

TEST_P(Speculation, max_tokens_stops_and_ends_inside_a_run_end_it_exactly) {
  TestEngine test{model};
  const Ids plain = ids_of(cases.at(0).at("greedy_ids"));
  for (const int count : {0, 1, 2, 3, 4, 5, 9, 17}) {
    GenerationOptions options;
    options.max_tokens = count;
    const Generation result = run(test.engine, SamplerChain(), options, GetParam(), 5);
    EXPECT_TRUE(std::ranges::equal(result.ids, std::span(plain).first(result.ids.size())));
    EXPECT_EQ(result.ids.size(), static_cast<std::size_t>(count));
    EXPECT_EQ(result.reason, FinishReason::length);
  }
  for (std::size_t stop = 1; stop < 12; ++stop) {
    std::size_t seen = 0;
    GenerationOptions options;
    options.on_token = [&](std::int32_t) { return ++seen < stop; };
    const Generation result = run(test.engine, SamplerChain(), options, GetParam(), 5);
    EXPECT_EQ(result.ids.size(), stop);
    EXPECT_EQ(seen, stop) << "nothing is shown behind the end";
    EXPECT_EQ(result.reason, FinishReason::stop);
  }
  GenerationOptions options;
  options.max_tokens = 32;
  options.end_ids = {plain[9]};
  const Ids ended = run(test.engine, SamplerChain(), options, GetParam(), 5).ids;
  const auto first = std::ranges::find(plain, plain[9]) - plain.begin();
  EXPECT_EQ(ended, Ids(plain.begin(), plain.begin() + first + 1));
}

TEST_P(Speculation, a_text_can_go_on_where_it_ended) {
  TestEngine test{model};
  const Ids whole = ids_of(cases.at(0).at("greedy_ids"));
  for (const int first : {1, 5, 6, 7, 12}) {
    GenerationOptions options;
    options.decode.mode = GetParam();
    options.decode.draft_tokens = 4;
    options.max_tokens = first;
    Sequence sequence = make_sequence(test.engine, options.decode);
    Ids all = prompt;
    const Ids begun = generate(test.engine, sequence, prompt, SamplerChain(), options).ids;
    all.insert(all.end(), begun.begin(), begun.end());
    ASSERT_EQ(sequence.length() + 1, static_cast<int>(all.size()));
    const auto held = static_cast<std::size_t>(sequence.length());
    options.cached = std::span(all).first(held);
    options.max_tokens = static_cast<int>(whole.size()) - first;
    const Ids rest =
        generate(test.engine, sequence, std::span(all).subspan(held), SamplerChain(), options).ids;
    EXPECT_TRUE(std::ranges::equal(rest, std::span(whole).subspan(all.size() - prompt.size())))
        << first;
  }
}

/// Runs tasks at once; each must give what plain decoding gives alone.
TEST_P(Speculation, in_a_batch_of_sixteen_with_shared_prompts_and_preemption_changes_nothing) {
  std::mt19937 random{3};
  for (const std::size_t pages : {std::size_t{0}, std::size_t{14}}) {
    std::vector<GenerationOptions> options(16);
    std::vector<Ids> prompts;
    std::vector<Ids> alone;
    std::vector<SamplerChain> samplers;
    for (std::size_t i = 0; i < options.size(); ++i) {
      Ids& own = prompts.emplace_back();
      // Half of them begin alike, long enough to be shared.
      const std::size_t length = i % 2 == 0 ? 280 + i : 1 + random() % 40;
      for (std::size_t t = 0; t < length; ++t) {
        own.push_back(
            static_cast<std::int32_t>(i % 2 == 0 && t < 270 ? t * 7 % 2000 : random() % 2000));
      }
      samplers.push_back(chain(i % 3 == 0 ? "draw" : i % 3 == 1 ? "greedy" : "penalty"));
      options[i].seed = i;
      options[i].max_tokens = static_cast<int>(10 + random() % 40);
      TestEngine plain{model, 1};
      options[i].decode.mode = DecodeMode::autoregressive;
      alone.push_back(write(plain.engine, own, samplers[i], options[i]).ids);
    }
    const std::size_t page = page_bytes(TestEngine(model, 1).engine.layout(), 1);
    TestEngine test{model, 2, "f32", {ComputeMode::exact}, pages * page};
    std::vector<std::promise<RequestEnd>> ends(options.size());
    std::vector<Ids> tokens(options.size());
    Scheduler scheduler(test.engine);
    for (std::size_t i = 0; i < options.size(); ++i) {
      Request request;
      request.prompt = prompts[i];
      request.samplers = samplers[i];
      request.rules = options[i];
      request.decode.mode = i % 5 == 4 ? DecodeMode::autoregressive : GetParam();
      request.decode.draft_tokens = static_cast<int>(i % 4);
      request.rules.on_token = [&tokens, i](std::int32_t token) {
        tokens[i].push_back(token);
        return true;
      };
      request.on_end = [&ends, i](const RequestEnd& end) { ends[i].set_value(end); };
      scheduler.submit(std::move(request));
    }
    std::size_t shared_tokens = 0;
    int preemptions = 0;
    for (std::size_t i = 0; i < options.size(); ++i) {
      const RequestEnd end = ends[i].get_future().get();
      ASSERT_FALSE(end.error.has_value()) << i << ": " << end.error->what();
      EXPECT_EQ(tokens[i], alone[i]) << i;
      shared_tokens += end.shared_tokens;
      preemptions += end.preemptions;
    }
    EXPECT_GT(pages == 0 ? static_cast<int>(shared_tokens) : preemptions, 0);
  }
}

TEST(NgramDrafts, hold_on_quantized_weights) {
  const Qwen3_5Reference reference("text");
  const Ids ids = ids_of(reference.expected.at("cases").at("short").at("input_ids"));
  for (const auto activations : {ActivationChoice::int8, ActivationChoice::int16}) {
    TestEngine test{
        load_qwen3_5(reference.folder / "quant"), 2, "f32", {ComputeMode::fast, activations}};
    GenerationOptions options;
    options.max_tokens = 60;
    options.decode.mode = DecodeMode::autoregressive;
    const Ids plain = write(test.engine, ids, SamplerChain(), options).ids;
    options.decode.mode = DecodeMode::ngram;
    options.decode.draft_tokens = 6;
    EXPECT_EQ(write(test.engine, ids, SamplerChain(), options).ids, plain);
  }
}

INSTANTIATE_TEST_SUITE_P(drafters, Speculation,
                         testing::Values(DecodeMode::draft_head, DecodeMode::ngram),
                         [](const auto& param) {
                           return std::string(decode_mode_name(param.param));
                         });

TEST(DraftHead, is_chosen_by_itself_and_refused_where_there_is_none) {
  GenerationOptions options;
  options.max_tokens = 40;
  TestEngine with{load_qwen3_5(shared("models/qwen3_5-tiny-real"))};
  const Ids few{562, 867, 657};
  EXPECT_GT(write(with.engine, few, SamplerChain(), options).counts.rounds, 0);
  const Qwen3_5Reference text("text");
  TestEngine without{load_qwen3_5(text.folder / "checkpoint")};
  const Ids ids{1, 2, 3};
  EXPECT_EQ(write(without.engine, ids, SamplerChain(), options).counts.rounds, 0);
  options.decode.mode = DecodeMode::draft_head;
  Sequence sequence = without.engine.new_sequence();
  EXPECT_THROW(generate(without.engine, sequence, ids, SamplerChain(), options), Error);
}

TEST(DraftVocabulary, drafts_come_from_it_and_tokens_from_all) {
  const TemporaryFolder folder;
  std::filesystem::copy(shared("models/qwen3_5-tiny-real"), folder.path() / "model",
                        std::filesystem::copy_options::recursive);
  const auto model_folder = folder.path() / "model";
  const Ids prompt{562, 867, 657, 2102, 82, 1239, 297};
  GenerationOptions options;
  options.max_tokens = 60;
  options.decode.mode = DecodeMode::autoregressive;
  TestEngine whole{load_qwen3_5(model_folder)};
  const Ids plain = write(whole.engine, prompt, SamplerChain(), options).ids;
  // One ranking that puts this very text first, and one that puts it last.
  const std::span<const std::int32_t> texts[] = {plain};
  const std::vector<std::int32_t> ranked = frequent_tokens(texts, 2368);
  ASSERT_EQ(ranked.size(), 2368U) << "a small vocabulary is kept whole";
  for (const bool is_first : {true, false}) {
    const auto ids = is_first ? std::span(ranked).first(296) : std::span(ranked).last(296);
    std::ofstream(model_folder / kDraftVocabularyFile) << nlohmann::json(ids).dump();
    for (const auto mode : {ComputeMode::exact, ComputeMode::fast}) {
      TestEngine test{load_qwen3_5(model_folder), 2, "f32", {mode}};
      options.decode.mode = DecodeMode::draft_head;
      options.decode.draft_tokens = 3;
      const Generation result = write(test.engine, prompt, SamplerChain(), options);
      EXPECT_EQ(result.ids, plain);
      const double per_round =
          static_cast<double>(result.counts.accepted) / std::max(1, result.counts.rounds);
      EXPECT_EQ(per_round > 1.3, is_first) << per_round;
    }
  }
  std::ofstream(model_folder / kDraftVocabularyFile) << "[1, 2, 2]";
  EXPECT_THROW((TestEngine{load_qwen3_5(model_folder)}), Error);
}

TEST(RecurrentState, after_a_part_of_the_rows_is_that_of_having_fed_only_those) {
  TestEngine test{load_qwen3_5(shared("models/qwen3_5-tiny-real"))};
  Ids ids(90);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 37 % 2300);
  const auto decode = [&](Sequence& sequence, std::span<const std::int32_t> rows, int accepted) {
    const Feed feed{&sequence, rows, Wanted::all, RowForm::decode};
    Logits logits = test.engine.forward({&feed, 1});
    sequence.accept(accepted);
    return logits.values;
  };
  for (const int kept : {0, 1, 2, 3, 5}) {
    Sequence straight = test.engine.new_drafted_sequence();
    Sequence tried = test.engine.new_drafted_sequence();
    for (Sequence* sequence : {&straight, &tried}) {
      test.engine.feed_prompt(*sequence, std::span(ids).first(70), Wanted::none);
    }
    const auto count = static_cast<std::size_t>(kept);
    for (std::size_t i = 0; i < count; ++i) decode(straight, std::span(ids).subspan(70 + i, 1), 1);
    decode(tried, std::span(ids).subspan(70, 5), kept);
    if (kept == 3) tried = Sequence(tried);
    if (kept == 5) {
      const SavedSequence saved = tried.save();
      tried = test.engine.new_drafted_sequence();
      tried.restore(saved);
    }
    const auto next = std::span(ids).subspan(70 + count, 4);
    const auto want = decode(straight, next, 0);
    EXPECT_EQ(decode(tried, next, 0), want) << kept;
    EXPECT_EQ(decode(tried, next, 4), want) << kept << ", again";
  }
}

TEST(RecurrentState, is_one_for_all_kinds_of_prompt_feeding_on_the_grid) {
  TestEngine test{load_qwen3_5(shared("models/qwen3_5-tiny-real")), 2};
  TestEngine single{load_qwen3_5(shared("models/qwen3_5-tiny-real")), 1};
  Ids ids(600);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 37 % 2300);
  Sequence whole = test.engine.new_sequence();
  const Logits want = test.engine.feed_prompt(whole, ids);
  Sequence parts = single.engine.new_sequence();
  Logits got;
  for (std::size_t done = 0; done < ids.size();) {
    const std::size_t count = std::min<std::size_t>(64, ids.size() - done);
    got = single.engine.feed_prompt(parts, std::span(ids).subspan(done, count));
    done += count;
  }
  EXPECT_EQ(got.values, want.values);
}

}  // namespace
}  // namespace quiver::test
