// Self-speculation gives the tokens of plain decoding, whatever chooses them and ends them.
#include <random>

#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

using Ids = std::vector<std::int32_t>;

/// A chain by name.
SamplerChain chain(const std::string& name) {
  if (name == "penalty") return penalized(1.3, 20);
  if (name == "draw") {
    return SamplerChain({standard_sampler("top-p", {{"p", 0.95}}),
                         standard_sampler("temperature", {{"t", 0.8}}),
                         standard_sampler("draw", {})});
  }
  if (name == "mirostat") {  // remembers from token to token
    return SamplerChain({standard_sampler("mirostat-v2", {{"tau", 4}, {"eta", 0.1}})});
  }
  return SamplerChain();
}

/// Allows only ids that leave `remainder` by three, which moves on with each token; complete after
/// some tokens.
class Counting : public TokenFilter {
 public:
  void apply(std::span<float> logits) override {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (i % 3 != seen_ % 3) logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  void accept(std::int32_t) override { ++seen_; }
  bool is_finished() const override { return seen_ >= 25; }

 private:
  std::size_t seen_ = 0;
};

class SelfSpeculation : public testing::Test {
 protected:
  Ids run(Engine& engine, const SamplerChain& samplers, GenerationOptions options, DecodeMode mode,
          int draft_tokens) {
    options.decode.mode = mode;
    options.decode.draft_tokens = draft_tokens;
    Counting filter;
    if (is_filtered) options.filter = &filter;
    const Generation result = write(engine, prompt, samplers, options);
    rounds += result.counts.rounds;
    return result.ids;
  }
  void expect_equal(Engine& engine, const std::string& samplers, GenerationOptions options) {
    const Ids plain = run(engine, chain(samplers), options, DecodeMode::autoregressive, 0);
    for (const int rows : {2, 5, 16, 0}) {
      EXPECT_EQ(run(engine, chain(samplers), options, DecodeMode::self_speculation, rows), plain)
          << samplers << ", " << rows << " rows";
    }
  }

  DharaReference reference{"real"};
  std::shared_ptr<const LoadedModel> model = load_dhara(shared("models/dhara-tiny-real"));
  Ids prompt = ids_of(reference.expected.at("cases").at(0).at("prompt"));
  bool is_filtered = false;
  int rounds = 0;
};

TEST_F(SelfSpeculation, gives_the_tokens_of_plain_decoding_on_all_prompts_and_samplers) {
  TestEngine test{model};
  int number = 0;
  for (const auto& entry : reference.expected.at("cases")) {
    prompt = ids_of(entry.at("prompt"));
    const bool is_even = number++ % 2 == 0;
    for (const char* samplers : {"greedy", is_even ? "penalty" : "draw", "mirostat"}) {
      GenerationOptions options;
      options.max_tokens = 40;
      options.seed = 5;
      expect_equal(test.engine, samplers, options);
    }
  }
  EXPECT_GT(rounds, 500);
}

TEST_F(SelfSpeculation, holds_in_fast_mode_where_drafts_compute_with_fewer_bits) {
  for (const char* checkpoint : {"checkpoint-q4g64", "checkpoint-mixed"}) {
    const auto quantized = load_dhara(reference.folder / checkpoint);
    for (const auto activations :
         {ActivationChoice::automatic, ActivationChoice::int8, ActivationChoice::float32}) {
      TestEngine test{quantized, 2, "f32", {ComputeMode::fast, activations}};
      GenerationOptions options;
      options.max_tokens = 32;
      for (const char* samplers : {"greedy", "draw"}) expect_equal(test.engine, samplers, options);
    }
  }
}

TEST_F(SelfSpeculation, holds_on_quantized_caches) {
  ThreadPool threads(2);
  const auto& factory = load_plugin<KvStrategyFactory>("kv-affine");
  for (const double bits : {4.0, 8.0}) {
    std::map<std::string, double, std::less<>> options;
    for (const OptionSpec& option : factory.options("affine")) {
      options[option.name] = option.default_value;
    }
    options["bits"] = bits;
    options["group"] = 32;
    const std::shared_ptr<const KvStrategy> kv(factory.create("affine", NumberOptions(options)));
    Engine engine(model, kv, threads, {ComputeMode::exact});
    GenerationOptions generation;
    generation.max_tokens = 100;  // across a page
    expect_equal(engine, "greedy", generation);
  }
}

TEST_F(SelfSpeculation, filters_see_the_tokens_one_by_one) {
  is_filtered = true;
  TestEngine test{model};
  GenerationOptions options;
  options.max_tokens = 40;
  for (const char* samplers : {"greedy", "draw"}) expect_equal(test.engine, samplers, options);
}

TEST_F(SelfSpeculation, max_tokens_and_callbacks_end_it_exactly) {
  TestEngine test{model};
  for (const int count : {0, 1, 2, 3, 7, 8, 9, 17}) {
    GenerationOptions options;
    options.max_tokens = count;
    const Ids ids = run(test.engine, SamplerChain(), options, DecodeMode::self_speculation, 8);
    EXPECT_EQ(ids.size(), static_cast<std::size_t>(count));
  }
  for (const std::size_t stop : {1U, 4U, 6U}) {
    std::size_t seen = 0;
    GenerationOptions options;
    options.on_token = [&](std::int32_t) { return ++seen < stop; };
    EXPECT_EQ(run(test.engine, SamplerChain(), options, DecodeMode::self_speculation, 8).size(),
              stop);
    EXPECT_EQ(seen, stop) << "nothing is shown behind the end";
  }
}

TEST_F(SelfSpeculation, a_text_can_go_on_where_it_ended) {
  TestEngine test{model};
  GenerationOptions options;
  options.max_tokens = 30;
  const Ids whole = run(test.engine, SamplerChain(), options, DecodeMode::autoregressive, 0);
  for (const int first : {1, 5, 6, 7, 12}) {
    Sequence sequence = test.engine.new_sequence();
    options.max_tokens = first;
    options.cached = {};
    options.decode.mode = DecodeMode::self_speculation;
    options.decode.draft_tokens = 8;
    Ids all = prompt;
    const Ids begun = generate(test.engine, sequence, prompt, SamplerChain(), options).ids;
    all.insert(all.end(), begun.begin(), begun.end());
    ASSERT_EQ(sequence.length() + 1, static_cast<int>(all.size()));
    options.max_tokens = 30 - first;
    const auto held = static_cast<std::size_t>(sequence.length());
    options.cached = std::span(all).first(held);
    const Ids rest =
        generate(test.engine, sequence, std::span(all).subspan(held), SamplerChain(), options).ids;
    EXPECT_TRUE(std::ranges::equal(rest, std::span(whole).subspan(all.size() - prompt.size())))
        << first;
  }
}

TEST_F(SelfSpeculation, gives_as_many_tokens_a_round_as_were_recorded) {
  TestEngine test{model};
  for (const auto& summary : reference.expected.at("summary").at("selfspec")) {
    if (summary.at("repetition_penalty") != 1.0) continue;
    int accepted = 0;
    int count = 0;
    for (const auto& entry : reference.expected.at("cases")) {
      GenerationOptions options;
      options.max_tokens = 48;
      options.end_ids = {2};
      options.decode.mode = DecodeMode::self_speculation;
      options.decode.draft_tokens = summary.at("k");
      const Generation result =
          write(test.engine, ids_of(entry.at("prompt")), SamplerChain(), options);
      accepted += result.counts.accepted;
      count += result.counts.rounds;
    }
    // Ours ends at max_tokens where the recorded rounds overshoot it: a token a text at most.
    EXPECT_GE(static_cast<double>(accepted) / count,
              summary.at("tokens_per_round").get<double>() - 0.1)
        << summary;
  }
}

TEST_F(SelfSpeculation, needs_a_model_that_predicts_blocks) {
  TestEngine llama{load_model(shared("reference/llama/llama/checkpoint"))};
  GenerationOptions options;
  options.max_tokens = 2;
  options.decode.mode = DecodeMode::self_speculation;
  const Ids few{1, 2, 3};
  EXPECT_THROW(write(llama.engine, few, SamplerChain(), options), Error);
  options.decode.mode = DecodeMode::automatic;
  EXPECT_EQ(write(llama.engine, few, SamplerChain(), options).counts.rounds, 0);
}

}  // namespace
}  // namespace quiver::test
