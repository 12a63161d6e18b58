// Logits and greedy texts of the Qwen3.5 family: dense and with experts, float and quantized.
#include "tests/qwen3_5/qwen3_5_models.hpp"

namespace quiver::test {
namespace {

class Qwen3_5Logits : public testing::TestWithParam<const char*> {};

TEST_P(Qwen3_5Logits, match_whole_in_chunks_and_token_by_token) {
  const Qwen3_5Reference reference(GetParam());
  TestEngine test{load_qwen3_5(reference.folder / "checkpoint")};
  for (const auto& [name, entry] : reference.expected.at("cases").items()) {
    if (entry.contains("images")) continue;
    const auto ids = ids_of(entry.at("input_ids"));
    const auto want = floats(reference.tensors, name + ".logits");
    for (const std::size_t chunk : {ids.size(), std::size_t{1}, std::size_t{7}, std::size_t{64}}) {
      EXPECT_LE(largest_difference(all_logits(test.engine, ids, chunk).values, want),
                reference.tolerance())
          << name << " in chunks of " << chunk;
    }
  }
}

class Qwen3_5Pieces : public testing::TestWithParam<const char*> {};

TEST_P(Qwen3_5Pieces, give_the_logits_that_were_recorded_so) {
  const Qwen3_5Reference reference(GetParam());
  const nlohmann::json& entry = reference.expected.at("cases").at("long");
  TestEngine test{load_qwen3_5(reference.folder / "checkpoint")};
  const auto ids = ids_of(entry.at("input_ids"));
  Sequence sequence = test.engine.new_sequence();
  std::vector<float> got;
  std::size_t done = 0;
  for (const std::size_t count : entry.at("incremental_pieces")) {
    const Feed feed{&sequence, std::span(ids).subspan(done, count), Wanted::all};
    const Logits part = test.engine.forward({&feed, 1});
    sequence.accept(static_cast<int>(count));
    got.insert(got.end(), part.values.begin(), part.values.end());
    done += count;
  }
  EXPECT_LE(largest_difference(got, floats(reference.tensors, entry.at("logits_incremental"))),
            reference.tolerance());
}

TEST_P(Qwen3_5Logits, greedy_texts_are_the_recorded_ones) {
  const Qwen3_5Reference reference(GetParam());
  TestEngine test{load_qwen3_5(reference.folder / "checkpoint")};
  for (const auto& [name, entry] : reference.expected.at("cases").items()) {
    if (!entry.contains("greedy_24")) continue;
    const auto want = ids_of(entry.at("greedy_24"));
    EXPECT_EQ(greedy(test.engine, ids_of(entry.at("input_ids")), want.size()), want) << name;
  }
}

TEST_P(Qwen3_5Logits, of_decoded_rows_are_those_of_the_prompt_but_for_rounding) {
  const Qwen3_5Reference reference(GetParam());
  const nlohmann::json& cases = reference.expected.at("cases");
  TestEngine test{load_qwen3_5(reference.folder / "checkpoint")};
  const auto ids = ids_of(cases.begin()->at("input_ids"));
  const auto whole = all_logits(test.engine, ids, ids.size());
  Sequence sequence = test.engine.new_sequence();
  const Feed feed{&sequence, ids, Wanted::all, RowForm::decode};
  const Logits decoded = test.engine.forward({&feed, 1});
  EXPECT_LE(largest_difference(decoded.values, whole.values), reference.tolerance());
}

INSTANTIATE_TEST_SUITE_P(all, Qwen3_5Logits, testing::Values("text", "moe", "image"),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(all, Qwen3_5Pieces, testing::Values("text", "moe"),
                         [](const auto& param) { return std::string(param.param); });

class Qwen3_5Quantized : public testing::TestWithParam<const char*> {};

TEST_P(Qwen3_5Quantized, logits_are_those_of_mlx) {
  const Qwen3_5Reference reference(GetParam());
  TestEngine test{load_qwen3_5(reference.folder / "quant")};
  for (const auto& [name, entry] : reference.expected.at("cases").items()) {
    const auto ids = ids_of(entry.at("input_ids"));
    const auto want = floats(reference.tensors, "mlx_quant." + name + ".logits_f32");
    for (const std::size_t chunk : {ids.size(), std::size_t{1}}) {
      EXPECT_LE(largest_difference(all_logits(test.engine, ids, chunk).values, want),
                reference.tolerance())
          << name << " in chunks of " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(all, Qwen3_5Quantized, testing::Values("text", "moe"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Qwen3_5Trained, logits_and_greedy_texts_are_the_recorded_ones) {
  const auto folder = shared("models/qwen3_5-tiny-real");
  const nlohmann::json expected = read_json_file(folder / "expected.json");
  const SafetensorsFile tensors = SafetensorsFile::open(folder / "expected.safetensors");
  const double tolerance = expected.at("tolerances").at("logits_abs");
  TestEngine test{load_qwen3_5(folder)};
  const nlohmann::json& cases = expected.at("greedy").at("cases");
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto prompt = ids_of(cases[i].at("input_ids"));
    if (i < 2) {
      const auto want = floats(tensors, "prompt" + std::to_string(i) + ".logits");
      EXPECT_LE(largest_difference(all_logits(test.engine, prompt, prompt.size()).values, want),
                tolerance);
    }
    ASSERT_GT(cases[i].at("min_top2_margin").get<double>(), tolerance);
    const auto want = ids_of(cases[i].at("greedy_ids"));
    EXPECT_EQ(greedy(test.engine, prompt, want.size()), want) << i;
  }
}

}  // namespace
}  // namespace quiver::test
