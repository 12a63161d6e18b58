// The engine against logits and tokens that the reference implementations recorded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/decode/generator.hpp"
#include "core/model/json_file.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

class LlamaReference : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path folder = shared(std::string("reference/llama/") + GetParam());
  nlohmann::json expected = read_json_file(folder / "expected.json");
  SafetensorsFile tensors = SafetensorsFile::open(folder / "expected.safetensors");
  TestEngine test{load_model(folder / "checkpoint")};
};

TEST_P(LlamaReference, logits_match_whole_and_in_chunks) {
  const double tolerance = expected.at("tolerances").at("logits_abs");
  for (const auto& [name, entry] : expected.at("cases").items()) {
    const auto ids = entry.at("input_ids").get<std::vector<std::int32_t>>();
    const auto want = floats(tensors, entry.at("logits"));
    const Logits whole = all_logits(test.engine, ids, ids.size());
    EXPECT_LE(largest_difference(whole.values, want), tolerance) << name;
    for (const std::size_t chunk : {1, 3, 64}) {
      const Logits parts = all_logits(test.engine, ids, chunk);
      EXPECT_EQ(parts.values, whole.values) << name << " in chunks of " << chunk;
    }
  }
}

TEST_P(LlamaReference, greedy_continuations_match_id_for_id) {
  for (const auto& [name, entry] : expected.at("cases").items()) {
    const auto ids = entry.at("input_ids").get<std::vector<std::int32_t>>();
    Sequence sequence = test.engine.new_sequence();
    GenerationOptions options;
    options.max_tokens = 16;
    const Generation result = generate(test.engine, sequence, ids, SamplerChain(), options);
    EXPECT_EQ(nlohmann::json(result.ids), entry.at("greedy_16")) << name;
  }
}

TEST_P(LlamaReference, block_outputs_match_the_recorded_activations) {
  const double tolerance = expected.at("tolerances").at("activations_abs");
  for (const auto& [name, entry] : expected.at("cases").items()) {
    if (!entry.contains("activations")) continue;
    const auto ids = entry.at("input_ids").get<std::vector<std::int32_t>>();
    Sequence sequence = test.engine.new_sequence();
    const Feed feed{&sequence, ids, Wanted::none};
    std::vector<float> first_block;
    test.engine.forward({&feed, 1},
                        [&](std::string_view tensor, int, int, std::span<const float> values) {
                          if (tensor == "block.0") first_block.assign(values.begin(), values.end());
                        });
    const auto want = floats(tensors, entry.at("activations").at("out"));
    EXPECT_LE(largest_difference(first_block, want), tolerance) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(all, LlamaReference,
                         testing::Values("llama", "llama3_rope", "linear_rope", "yarn_default",
                                         "yarn_mscale", "yarn_rope", "mistral", "qwen2", "qwen3"),
                         [](const auto& param) { return std::string(param.param); });

/// Logits of the sequences [2, 40] that the converter's reference recorded.
void expect_calibration_logits(const std::string& folder, const std::string& logits,
                               double tolerance) {
  const auto expected =
      SafetensorsFile::open(shared("reference/convert/llama_a/expected.safetensors"));
  const TensorView& tokens = expected.at("calib_tokens");
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens.elements()));
  std::memcpy(ids.data(), tokens.data.data(), tokens.data.size());
  const auto want = floats(expected, logits);
  TestEngine test{load_model(shared("reference/convert/llama_a/" + folder))};
  const auto length = static_cast<std::size_t>(tokens.shape.at(1));
  const std::size_t values = want.size() / static_cast<std::size_t>(tokens.shape.at(0));
  for (std::size_t i = 0; i < static_cast<std::size_t>(tokens.shape.at(0)); ++i) {
    const Logits got = all_logits(test.engine, std::span(ids).subspan(i * length, length), length);
    EXPECT_LE(largest_difference(got.values, std::span(want).subspan(i * values, values)),
              tolerance);
  }
}

TEST(ConvertReference, float_checkpoint_logits_match) {
  expect_calibration_logits("checkpoint", "ref_logits", 1e-4);
}

TEST(ConvertReference, mixed_4_and_8_bit_checkpoint_logits_match) {
  expect_calibration_logits("converted", "converted_logits", 1e-4);
}

TEST(LoraReference, base_model_logits_match) {
  const auto folder = shared("reference/lora/tiny_llama");
  const nlohmann::json expected = read_json_file(folder / "expected.json");
  const auto tensors = SafetensorsFile::open(folder / "expected.safetensors");
  TestEngine test{load_model(folder / "checkpoint")};
  for (std::size_t number = 0; number < expected.at("batches").size(); ++number) {
    const nlohmann::json& batch = expected.at("batches").at(number);
    const auto want = floats(tensors, "logits.base.batch" + std::to_string(number));
    const std::size_t rows = batch.at("ids").size();
    for (std::size_t row = 0; row < rows; ++row) {
      auto ids = batch.at("ids").at(row).get<std::vector<std::int32_t>>();
      const std::size_t stored = want.size() / rows;
      ids.resize(batch.at("lengths").at(row));  // what follows is padding
      const Logits got = all_logits(test.engine, ids, ids.size());
      EXPECT_LE(
          largest_difference(got.values, std::span(want).subspan(row * stored, got.values.size())),
          expected.at("tolerance").at("logits_abs").get<double>());
    }
  }
}

}  // namespace
}  // namespace quiver::test
