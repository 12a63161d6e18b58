// The reference converter's samples, to the token.
#include "core/tensor/safetensors.hpp"
#include "tests/quantize/calibration_fixture.hpp"

#include <cstring>

namespace quiver::test {
namespace {

/// A recorded tensor [samples, tokens] of int32.
std::vector<std::vector<std::int32_t>> recorded(const std::string& model, const std::string& name) {
  const auto path = shared("reference/convert/" + model + "/expected.safetensors");
  const auto file = SafetensorsFile::open(path);
  const TensorView& tensor = file.at(name);
  const auto width = static_cast<std::size_t>(tensor.shape.at(1));
  std::vector<std::vector<std::int32_t>> rows(static_cast<std::size_t>(tensor.shape.at(0)));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].resize(width);
    std::memcpy(rows[i].data(), tensor.data.data() + 4 * i * width, 4 * width);
  }
  return rows;
}

void expect_recorded(const std::string& model, const std::string& name) {
  const auto expected = recorded(model, name);
  ASSERT_FALSE(expected.empty());
  const auto folder = shared("reference/convert/" + model);
  const auto samples =
      sample_calibration_optiq(read_calibration_rows(folder / "calibration.jsonl"),
                               CalibrationText::load_folder(folder / "checkpoint"),
                               {.samples = static_cast<int>(expected.size()),
                                .sequence_length = static_cast<int>(expected[0].size())});
  EXPECT_TRUE(samples.warnings.empty());
  ASSERT_EQ(samples.samples.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(samples.samples[i].tokens, expected[i]) << model << " " << name << " " << i;
  }
}

TEST(CalibrationOptiq, recorded_tokens_are_equal_without_a_template) {
  expect_recorded("llama_a", "calib_tokens");
  expect_recorded("llama_a", "cli_calib_tokens");
}

TEST(CalibrationOptiq, recorded_tokens_are_equal_with_a_template_and_tools) {
  expect_recorded("qwen35_a", "calib_tokens");
  expect_recorded("qwen35_a", "cli_calib_tokens");
}

TEST(CalibrationOptiq, shuffles_as_numpy_does) {
  EXPECT_EQ(shuffled(8, 42), (std::vector<std::size_t>{1, 5, 0, 7, 2, 4, 3, 6}));
  EXPECT_EQ(shuffled(21, 42), (std::vector<std::size_t>{0, 17, 15, 1, 8,  5, 11, 3,  18, 16, 13,
                                                        2, 9,  20, 4, 12, 7, 10, 14, 19, 6}));
  EXPECT_TRUE(shuffled(0, 1).empty());
  EXPECT_EQ(shuffled(1, 1), std::vector<std::size_t>{0});
}

/// A mix that has `count` tokens, and those.
std::pair<std::vector<CalibrationRow>, std::vector<std::int32_t>> mix_of(std::size_t count,
                                                                         const CalibrationText& t) {
  std::string content = "x";
  while (t.tokenizer().encode(content, false).size() < count) {
    content += content.back() == 'x' ? ' ' : 'x';
  }
  const auto tokens = t.tokenizer().encode(content, false);
  EXPECT_EQ(tokens.size(), count);
  return {{{.domain = "a", .text = content, .messages_json = {}, .tools_json = {}, .where = {}}},
          tokens};
}

TEST(CalibrationOptiq, a_last_chunk_that_is_whole_is_lost_and_a_mix_of_one_chunk_is_not) {
  const CalibrationText text = text_without_template();
  const auto count = [&](std::size_t tokens) {
    return sample_calibration_optiq(mix_of(tokens, text).first, text,
                                    {.samples = 8, .sequence_length = 16})
        .samples.size();
  };
  EXPECT_EQ(count(48), 2U);
  EXPECT_EQ(count(49), 3U);
  const auto [rows, tokens] = mix_of(16, text);
  const auto one = sample_calibration_optiq(rows, text, {.samples = 8, .sequence_length = 16});
  ASSERT_EQ(one.samples.size(), 1U);
  EXPECT_EQ(one.samples[0].tokens, tokens);
}

}  // namespace
}  // namespace quiver::test
