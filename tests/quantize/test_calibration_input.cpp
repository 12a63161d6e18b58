// Texts that models want fed otherwise than as they are, and what is measured over them.
#include "core/quantize/calibration_input.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/plugin/sha256.hpp"
#include "core/quantize/convert_records.hpp"
#include "core/quantize/kv_sensitivity.hpp"
#include "core/quantize/uniform_results.hpp"
#include "tests/quantize/convert_fixture.hpp"
#include "tests/support/kv.hpp"
#include "tests/support/probed_model.hpp"
#include "tests/support/whole_passes.hpp"

namespace quiver::test {
namespace {

constexpr std::int32_t kMask = 3;

/// Text 0 as it is, 1 masked at every third token and read in blocks of 8, 2 a canvas, 3 masked at
/// its end, 4 read in blocks.
Visibility mixed_probe(int index, std::span<std::int32_t> tokens) {
  switch (index) {
    case 1:
      for (std::size_t i = 1; i < tokens.size(); i += 3) tokens[i] = kMask;
      return {VisibilityKind::block_causal, 8};
    case 2: return {VisibilityKind::canvas, 0};
    case 3: tokens.back() = kMask; return {};
    case 4: return {VisibilityKind::block_causal, 16};
    default: return {};
  }
}

std::filesystem::path folder_of_model() {
  return shared("reference/convert/llama_a/checkpoint");
}

std::vector<CalibrationInput> mixed_inputs(const LoadedModel& model) {
  return calibration_inputs(model, some_texts(model.text().info().vocabulary, 5, 24));
}

TEST(CalibrationInput, texts_are_fed_as_they_are_where_the_model_does_not_say_otherwise) {
  const Texts texts = llama_a_texts();
  const auto inputs = calibration_inputs(*load_model(folder_of_model()), texts);
  ASSERT_EQ(inputs.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(inputs[i].tokens, texts[i]);
    EXPECT_EQ(inputs[i].visibility, Visibility());
    EXPECT_TRUE(inputs[i].is_text);
  }
  EXPECT_EQ(texts_record(inputs), sha256_hex(nlohmann::json(texts).dump()))
      << "checkpoints of other versions go on";
}

TEST(CalibrationInput, the_model_is_asked_about_every_text_in_order) {
  const auto model = load_probed(folder_of_model(), mixed_probe);
  const Texts texts = some_texts(model->text().info().vocabulary, 5, 24);
  const auto inputs = calibration_inputs(*model, texts);
  ASSERT_EQ(inputs.size(), 5U);
  for (int i = 0; i < 5; ++i) {
    const auto index = static_cast<std::size_t>(i);
    auto tokens = texts[index];
    EXPECT_EQ(inputs[index].visibility, mixed_probe(i, tokens)) << i;
    EXPECT_EQ(inputs[index].tokens, tokens) << i;
    EXPECT_EQ(inputs[index].is_text, i == 0) << i;
  }
}

TEST(CalibrationInput, what_a_checkpoint_goes_by_tells_every_way_of_feeding_apart) {
  const auto record = [](const Probe& probe) {
    const auto model = load_probed(folder_of_model(), probe);
    return texts_record(calibration_inputs(*model, llama_a_texts()));
  };
  const auto plain = record([](int, auto) { return Visibility{}; });
  const auto blocks = record([](int, auto) { return Visibility{VisibilityKind::block_causal, 8}; });
  const auto wider = record([](int, auto) { return Visibility{VisibilityKind::block_causal, 9}; });
  const auto canvas = record([](int, auto) { return Visibility{VisibilityKind::canvas, 0}; });
  const auto masked = record([](int, auto tokens) {
    tokens[0] = kMask;
    return Visibility{};
  });
  EXPECT_EQ(plain, texts_record(plain_inputs(llama_a_texts())));
  EXPECT_EQ((std::set<std::string>{plain, blocks, wider, canvas, masked}).size(), 5U);
}

/// What is said to a model that answers so, in one line.
std::string refusal(const Probe& probe) {
  const TemporaryFolder folder;
  ThreadPool threads(1);
  try {
    convert(load_probed(folder_of_model(), probe), llama_a_texts(), folder.path() / "out", {},
            {exact_encoder(), {}, false, float_kv(), threads, nullptr, {}, load_model});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::plugin);
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
    EXPECT_TRUE(folder.list().empty());
    return error.what();
  }
  return "none";
}

TEST(CalibrationInput, answers_that_no_pass_can_be_fed_are_refused_by_the_plugins_name) {
  using testing::AllOf;
  using testing::HasSubstr;
  const auto with_token = [](std::int32_t token) {
    return refusal([token](int, auto tokens) {
      tokens.back() = token;
      return Visibility{};
    });
  };
  const auto with = [](const Visibility& visibility) {
    return refusal(
        [visibility](int index, auto) { return index == 1 ? visibility : Visibility{}; });
  };
  const int vocabulary = load_model(folder_of_model())->text().info().vocabulary;
  EXPECT_THAT(with_token(vocabulary), AllOf(HasSubstr("'probing'"), HasSubstr("vocabulary")));
  EXPECT_THAT(with_token(-1), AllOf(HasSubstr("text 0"), HasSubstr("token -1")));
  EXPECT_THAT(with({VisibilityKind::block_causal, 0}),
              AllOf(HasSubstr("text 1"), HasSubstr("blocks of 0")));
  EXPECT_THAT(with({VisibilityKind::block_causal, std::numeric_limits<std::int32_t>::min()}),
              HasSubstr("blocks of -2147483648"));
  EXPECT_THAT(with({static_cast<VisibilityKind>(7), 0}), HasSubstr("visibility 7"));
  const Probe throws = [](int, auto) -> Visibility { throw std::runtime_error("one\ntwo"); };
  EXPECT_THAT(refusal(throws), HasSubstr("'probing' failed"));
}

TEST(CalibrationInput, blocks_longer_than_any_text_are_read_as_one) {
  const auto model = load_model(folder_of_model());
  TestEngine test{model};
  auto texts = plain_inputs(some_texts(model->text().info().vocabulary, 1, 20));
  texts[0].visibility = {VisibilityKind::block_causal, std::numeric_limits<std::int32_t>::max()};
  const auto blocks = whole_pass(test.engine, texts[0]);
  texts[0].visibility = {VisibilityKind::canvas, 0};
  EXPECT_EQ(blocks.values, whole_pass(test.engine, texts[0]).values);
}

class ProbedSweep : public testing::Test {
 protected:
  ThreadPool threads{2};
  std::shared_ptr<const LoadedModel> model = load_probed(folder_of_model(), mixed_probe);
  MatrixEncoder encoder = exact_encoder();
  std::vector<CalibrationInput> inputs = mixed_inputs(*model);
};

TEST_F(ProbedSweep, equals_whole_passes_under_the_same_visibility) {
  auto layers = quantizable_layers(*model, *encoder.scheme, 64);
  BlockRunner runner(model, float_kv(), threads, inputs, 0);
  trace_layers(runner, layers, false);
  std::map<std::size_t, double> measured;
  SweepHooks hooks;
  hooks.wants = [](std::size_t index) { return index % 5 == 1; };
  hooks.measured = [&](std::size_t index, const auto& kl) { measured[index] = kl.at(3); };
  measure_layers(runner, layers, {{3}, encoder}, 0, threads, hooks);
  EXPECT_GE(measured.size(), 4U);
  TestEngine reference{model};
  const auto plain = plain_inputs(some_texts(model->text().info().vocabulary, 5, 24));
  for (const auto& [index, kl] : measured) {
    const TemporaryFolder folder;
    write_with_layer(*model, layers, index, {3, 64}, encoder, folder.path());
    TestEngine changed{load_model(folder.path())};
    EXPECT_EQ(kl, divergence_by_hand(reference.engine, changed.engine, inputs))
        << layers[index].name;
    EXPECT_GT(kl, 1e-5) << layers[index].name;
    EXPECT_NE(kl, divergence_by_hand(reference.engine, changed.engine, plain))
        << layers[index].name;
  }
}

TEST_F(ProbedSweep, likelihoods_are_those_of_what_is_fed_as_text) {
  const WeightVariant same;
  const auto scores = [&](const std::vector<CalibrationInput>& texts) {
    BlockRunner runner(model, float_kv(), threads, texts, 0);
    runner.run_reference({});
    return runner.scores({&same, 1}, true, {})[0];
  };
  const TextScores all = scores(inputs);
  EXPECT_EQ(all.kl.size(), 5U);
  EXPECT_EQ(all.nll.size(), 1U);
  EXPECT_EQ(all.nll, scores({inputs[0]}).nll);
  EXPECT_GT(all.nll[0], 0.1);
  BlockRunner masked(model, float_kv(), threads, {inputs[1], inputs[2]}, 0);
  masked.run_reference({});
  EXPECT_TRUE(std::isnan(score_variant(masked, same, {}).perplexity));
}

TEST_F(ProbedSweep, an_interrupted_conversion_goes_on_only_with_texts_fed_the_same_way) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  const auto run = [&](const std::shared_ptr<const LoadedModel>& source, int stages) {
    ConvertOptions options;
    options.resumes = true;
    options.target_bpw = 6.5;
    const ConvertProgress progress = [&](std::string_view stage, auto...) {
      return stage == "measuring" && --stages < 0;
    };
    return convert(source, some_texts(source->text().info().vocabulary, 2, 24), out, options,
                   {encoder, {}, false, float_kv(), threads, nullptr, progress, load_model});
  };
  EXPECT_THROW(run(load_model(folder_of_model()), 5), Error);
  try {
    run(model, 5);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_THAT(error.message(), testing::HasSubstr("texts"));
  }
  EXPECT_GT(run(load_model(folder_of_model()), 1000).kl_measured, 0);
}

TEST_F(ProbedSweep, costs_of_stored_keys_and_values_equal_whole_passes_too) {
  // Longer than a pass, and not a multiple of the blocks.
  Texts texts = some_texts(model->text().info().vocabulary, 5, 300);
  const auto fed = calibration_inputs(*model, std::move(texts));
  const KvPlan plan = plan_of_block(model->weights(), float_kv(), 1, affine_kv(4, 4));
  const auto got = kv_divergences({model, float_kv(), affine_kv, threads, {}}, fed, {&plan, 1});
  Engine reference(model, float_kv(), threads, {ComputeMode::exact});
  Engine stored(model, plan, threads, {ComputeMode::exact});
  EXPECT_NEAR(got[0], divergence_by_hand(reference, stored, fed), 1e-12);
  EXPECT_GT(got[0], 1e-6);
}

}  // namespace
}  // namespace quiver::test
