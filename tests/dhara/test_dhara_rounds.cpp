// Autoregressive texts, drafts and accepted counts of the dhara family, as its reference had them.
#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

/// Below this distance of two candidates float32 in another order may choose the other one.
constexpr double kSureGap = 1e-3;

/// The text of one recorded greedy case.
void expect_greedy(Engine& engine, const nlohmann::json& entry, const std::string& where) {
  const auto want = ids_of(entry.at("output"));
  GenerationOptions options;
  options.decode.mode = DecodeMode::autoregressive;
  options.max_tokens = static_cast<int>(want.size());
  const nlohmann::json& window = entry.at("penalty_window");
  const auto samplers =
      penalized(entry.at("repetition_penalty"), window.is_null() ? 0 : window.get<int>());
  const auto got = write(engine, ids_of(entry.at("prompt")), samplers, options).ids;
  if (entry.at("min_top2_gap") >= kSureGap) {
    EXPECT_EQ(got, want) << where;
  } else {
    EXPECT_EQ(got.size(), want.size()) << where;
  }
}

/// Rounds with a fixed number of rows. The last ones are left out where they reach beyond max_new,
/// which the reference overshoots.
void expect_rounds(Engine& engine, const nlohmann::json& entry,
                   std::span<const std::int32_t> prompt, std::int32_t eos,
                   const std::string& where) {
  const auto output = ids_of(entry.at("output"));
  const int k = entry.at("k");
  DecodeRecord record;
  GenerationOptions options;
  options.max_tokens = static_cast<int>(output.size()) + k;
  options.end_ids = {eos};
  options.decode.mode = DecodeMode::self_speculation;
  options.decode.draft_tokens = k;
  options.decode.block_length = entry.at("block_len");
  options.decode.observer = &record;
  const Generation result =
      write(engine, prompt, penalized(entry.at("repetition_penalty")), options);
  const nlohmann::json& rounds = entry.at("rounds");
  ASSERT_GE(record.rounds.size() + 1, rounds.size()) << where;
  std::size_t total = 0;
  for (std::size_t i = 0; i < std::min(rounds.size(), record.rounds.size()); ++i) {
    const auto& got = record.rounds[i];
    const nlohmann::json& want = rounds.at(i);
    const auto accepted = want.at("accepted").get<std::size_t>();
    const bool is_cut = got.fed.size() < static_cast<std::size_t>(k) ||
                        result.ids.back() == eos;  // the text ended inside the round
    if (is_cut && i + 1 >= rounds.size()) break;
    EXPECT_EQ(got.start, want.at("start").get<std::size_t>()) << where << ", round " << i;
    EXPECT_EQ(got.fed, ids_of(want.at("draft"))) << where << ", round " << i;
    auto argmax = ids_of(want.at("verify_argmax"));
    argmax.resize(accepted);
    EXPECT_EQ(got.chosen, argmax) << where << ", round " << i;
    total += accepted;
  }
  EXPECT_GT(total, 0U) << where;
  const std::size_t shared = std::min(output.size(), result.ids.size());
  EXPECT_TRUE(
      std::ranges::equal(std::span(output).first(shared), std::span(result.ids).first(shared)))
      << where;
}

class DharaRounds : public testing::TestWithParam<const char*> {};

TEST_P(DharaRounds, greedy_texts_match_with_and_without_a_penalty) {
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  for (const auto& entry : reference.expected.at("cases").at("greedy")) {
    expect_greedy(test.engine, entry, entry.dump().substr(0, 80));
  }
}

TEST_P(DharaRounds, drafts_and_accepted_counts_match) {
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  int number = 0;
  for (const auto& entry : reference.expected.at("cases").at("selfspec")) {
    expect_rounds(test.engine, entry, ids_of(entry.at("prompt")), entry.at("eos"),
                  "case " + std::to_string(number++));
  }
}

TEST_P(DharaRounds, stop_ids_end_the_text_exactly) {
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  const nlohmann::json& entry = reference.expected.at("cases").at("stop");
  const auto plain = ids_of(entry.at("ar"));
  for (const DecodeMode mode : {DecodeMode::autoregressive, DecodeMode::self_speculation}) {
    GenerationOptions options;
    options.end_ids = {entry.at("eos").get<std::int32_t>()};
    options.max_tokens = static_cast<int>(plain.size()) + 20;
    options.decode.mode = mode;
    options.decode.draft_tokens = mode == DecodeMode::self_speculation ? 8 : 0;
    const Generation got = write(test.engine, ids_of(entry.at("prompt")), SamplerChain(), options);
    EXPECT_EQ(got.ids, plain) << decode_mode_name(mode);
    EXPECT_EQ(got.reason, FinishReason::stop);
  }
}

INSTANTIATE_TEST_SUITE_P(all, DharaRounds, testing::ValuesIn(kDharaSets),
                         [](const auto& param) { return std::string(param.param); });

TEST(DharaQuantizedRounds, match_on_every_quantized_checkpoint) {
  for (const char* set : {"quant", "quant_bf16"}) {
    const DharaReference reference(set);
    for (const auto& [name, entry] : reference.expected.at("cases").items()) {
      if (!name.starts_with("quant.")) continue;
      const std::string checkpoint = name.substr(6);
      TestEngine test{load_dhara(reference.folder / ("checkpoint-" + checkpoint))};
      const std::string where = std::string(set) + " " + checkpoint;
      for (const auto& greedy : entry.at("greedy")) expect_greedy(test.engine, greedy, where);
      for (const auto& rounds : entry.at("selfspec")) {
        expect_rounds(test.engine, rounds, ids_of(rounds.at("prompt")), rounds.at("eos"), where);
      }
    }
  }
}

TEST(DharaTrainedRounds, texts_drafts_and_accepted_counts_match_on_all_prompts) {
  const DharaReference reference("real");
  TestEngine test{load_dhara(shared("models/dhara-tiny-real"))};
  const std::int32_t eos = test.engine.model().config().integer("eos_token_id");
  int number = 0;
  for (const auto& entry : reference.expected.at("cases")) {
    const std::string where = "prompt " + std::to_string(number++);
    const auto prompt = ids_of(entry.at("prompt"));
    for (const auto& ar : entry.at("ar")) {
      if (ar.at("min_top2_gap") < kSureGap) continue;
      GenerationOptions options;
      options.decode.mode = DecodeMode::autoregressive;
      options.max_tokens = ar.at("max_new");
      options.end_ids = {eos};
      EXPECT_EQ(write(test.engine, prompt, penalized(ar.at("repetition_penalty")), options).ids,
                ids_of(ar.at("output")))
          << where;
    }
    for (const auto& rounds : entry.at("selfspec")) {
      expect_rounds(test.engine, rounds, prompt, eos, where);
    }
  }
}

}  // namespace
}  // namespace quiver::test
