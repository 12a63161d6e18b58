// Canvases of the dhara family after every denoising step, as its reference had them.
#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

/// Below this distance from a threshold, or between two candidates, float32 in another order may
/// decide otherwise. Recorded margins are smaller in places; what is asked for is that no canvas
/// differs whose own decisions were sure.
constexpr double kSureMargin = 1e-3;

DecodeRecord canvases(Engine& engine, const nlohmann::json& entry,
                      std::span<const std::int32_t> prompt, std::int32_t eos, Generation& result) {
  DecodeRecord record;
  GenerationOptions options;
  options.max_tokens = entry.at("max_new");
  options.end_ids = {eos};
  options.decode.mode = DecodeMode::block_diffusion;
  options.decode.block_length = entry.at("block_len");
  options.decode.allows_mask = true;
  options.decode.canvas_sampler = confidence(entry.at("threshold"));
  options.decode.observer = &record;
  result = write(engine, prompt, penalized(entry.at("repetition_penalty")), options);
  return record;
}

/// The canvases of one recorded text, step by step, and its tokens up to a stop id.
void expect_canvases(Engine& engine, const nlohmann::json& entry,
                     std::span<const std::int32_t> prompt, std::int32_t eos,
                     const std::string& where, int& sure) {
  Generation result;
  const DecodeRecord record = canvases(engine, entry, prompt, eos, result);
  const nlohmann::json& blocks = entry.at("blocks");
  bool is_equal = record.canvases.size() == blocks.size();
  for (std::size_t i = 0; is_equal && i < blocks.size(); ++i) {
    is_equal = record.canvases[i].start == blocks.at(i).at("start").get<std::size_t>() &&
               nlohmann::json(record.canvases[i].steps) == blocks.at(i).at("canvas_after_step");
  }
  auto want = ids_of(entry.at("output"));
  const auto end = std::ranges::find(want, eos);
  if (end != want.end()) want.erase(end + 1, want.end());
  const double margin = entry.at("min_decision_margin");
  if (margin >= kSureMargin) {
    ++sure;
    EXPECT_TRUE(is_equal) << where;
    EXPECT_EQ(result.ids, want) << where;
    return;
  }
  EXPECT_TRUE(is_equal) << where << ", whose smallest margin is " << margin;
}

class DharaCanvases : public testing::TestWithParam<const char*> {};

TEST_P(DharaCanvases, match_after_every_step) {
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  int number = 0;
  int sure = 0;
  for (const auto& entry : reference.expected.at("cases").at("diffusion")) {
    expect_canvases(test.engine, entry, ids_of(entry.at("prompt")), entry.at("eos"),
                    "case " + std::to_string(number++), sure);
  }
}

INSTANTIATE_TEST_SUITE_P(all, DharaCanvases, testing::ValuesIn(kDharaSets),
                         [](const auto& param) { return std::string(param.param); });

TEST(DharaQuantizedCanvases, match_with_a_mask_of_floats) {
  int sure = 0;
  for (const char* set : {"quant", "quant_bf16"}) {
    const DharaReference reference(set);
    for (const auto& [name, entry] : reference.expected.at("cases").items()) {
      if (!name.starts_with("quant.")) continue;
      TestEngine test{load_dhara(reference.folder / ("checkpoint-" + name.substr(6)))};
      for (const auto& canvas : entry.at("diffusion")) {
        expect_canvases(test.engine, canvas, ids_of(canvas.at("prompt")), canvas.at("eos"),
                        std::string(set) + " " + name, sure);
      }
    }
  }
  EXPECT_GT(sure, 0);
}

class DharaTrainedCanvases : public testing::TestWithParam<int> {};

TEST_P(DharaTrainedCanvases, match_after_every_step) {
  const DharaReference reference("real");
  TestEngine test{load_dhara(shared("models/dhara-tiny-real"))};
  const std::int32_t eos = test.engine.model().config().integer("eos_token_id");
  const auto& entry = reference.expected.at("cases").at(static_cast<std::size_t>(GetParam()));
  int sure = 0;
  for (const auto& canvas : entry.at("diffusion")) {
    expect_canvases(test.engine, canvas, ids_of(entry.at("prompt")), eos, "trained", sure);
  }
}

INSTANTIATE_TEST_SUITE_P(prompts, DharaTrainedCanvases, testing::Range(0, 8));

}  // namespace
}  // namespace quiver::test
