// quiver logits against the reference checkpoints.
#include "tests/cli/run_program.hpp"

#include "core/model/json_file.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/numbers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quiver::test {
namespace {

class ReferenceLogits : public testing::TestWithParam<const char*> {
 protected:
  std::string folder_ = shared_path(std::string("reference/llama/") + GetParam());
  nlohmann::json expected_ = read_json_file(folder_ + "/expected.json");
  SafetensorsFile values_ = SafetensorsFile::open(folder_ + "/expected.safetensors");
  TemporaryFolder out_;

  /// Logits of a case, fed as the further arguments say.
  std::vector<float> run(const std::string& name, const std::vector<std::string>& more) {
    const auto& ids = expected_.at("cases").at(name).at("input_ids");
    const std::string file = (out_.path() / "logits.safetensors").string();
    std::vector<std::string> arguments = {"logits",    folder_ + "/checkpoint",
                                          "--ids",     join_ids(ids),
                                          "--compute", "exact",
                                          "--json",    "-o",
                                          file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    const auto json = result.json();
    EXPECT_EQ(json.at("tokens"), ids.size());
    const SafetensorsFile written = SafetensorsFile::open(file);
    const TensorView& tensor = written.at("logits");
    EXPECT_EQ(tensor.shape, (std::vector<std::int64_t>{json.at("tokens").get<std::int64_t>(),
                                                       json.at("vocab").get<std::int64_t>()}));
    std::vector<float> logits = floats(written, "logits");
    const auto vocabulary = static_cast<std::size_t>(tensor.columns());
    EXPECT_EQ(json.at("argmax").size(), ids.size());
    for (std::size_t row = 0; row < ids.size(); ++row) {
      const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * vocabulary);
      EXPECT_EQ(json.at("argmax").at(row),
                std::max_element(begin, begin + static_cast<std::ptrdiff_t>(vocabulary)) - begin);
    }
    return logits;
  }
};

TEST_P(ReferenceLogits, match_the_reference) {
  const double tolerance = expected_.at("tolerances").at("logits_abs");
  for (const auto& [name, value] : expected_.at("cases").items()) {
    const auto expected = floats(values_, value.at("logits"));
    EXPECT_LT(largest_difference(run(name, {}), expected), tolerance) << name;
  }
}

TEST_P(ReferenceLogits, do_not_depend_on_the_chunks) {
  const auto whole = run("long", {});
  for (const char* chunk : {"1", "7", "64"}) {
    EXPECT_LT(largest_difference(run("long", {"--chunk", chunk}), whole), 1e-5) << chunk;
  }
}

TEST_P(ReferenceLogits, greedy_continuation_is_the_reference) {
  for (const auto& [name, value] : expected_.at("cases").items()) {
    const ProgramResult result =
        run_program({"generate", folder_ + "/checkpoint", "--ids", join_ids(value.at("input_ids")),
                     "--ignore-eos", "--max-tokens", "16", "--compute", "exact", "--json"});
    ASSERT_EQ(result.status, 0) << result.err;
    const auto json = result.json();
    EXPECT_EQ(json.at("ids"), value.at("greedy_16")) << name;
    EXPECT_EQ(json.at("finish_reason"), "length");
    EXPECT_EQ(json.at("usage").at("prompt_tokens"), value.at("input_ids").size());
    EXPECT_EQ(json.at("usage").at("completion_tokens"), 16);
  }
}

INSTANTIATE_TEST_SUITE_P(Llama, ReferenceLogits,
                         testing::Values("llama", "llama3_rope", "linear_rope", "mistral", "qwen2",
                                         "qwen3", "yarn_default", "yarn_mscale", "yarn_rope"),
                         [](const auto& one) { return std::string(one.param); });

TEST(Logits, intermediates_are_the_references_activations) {
  const std::string folder = shared_path("reference/llama/qwen3");
  const auto expected = read_json_file(folder + "/expected.json");
  const auto ids = expected.at("cases").at("long").at("input_ids");
  const SafetensorsFile values = SafetensorsFile::open(folder + "/expected.safetensors");
  const TemporaryFolder out;
  const std::string file = (out.path() / "all.safetensors").string();
  const ProgramResult result =
      run_program({"logits", folder + "/checkpoint", "--ids", join_ids(ids), "--chunk", "40",
                   "--intermediates", "-o", file});
  ASSERT_EQ(result.status, 0) << result.err;
  const SafetensorsFile written = SafetensorsFile::open(file);
  const double tolerance = expected.at("tolerances").at("activations_abs");
  EXPECT_LT(largest_difference(floats(written, "block.0"), floats(values, "long.layer0.out")),
            tolerance);
  for (const char* name : {"logits", "embed", "block.0", "block.1", "hidden"}) {
    EXPECT_EQ(written.at(name).rows(), static_cast<std::int64_t>(ids.size())) << name;
  }
}

TEST(Logits, of_whole_blocks_are_the_references_however_many_are_fed_at_a_time) {
  const std::string folder = shared_path("reference/dhara/base");
  const auto expected = read_json_file(folder + "/expected.json");
  const auto& entry = expected.at("cases").at("block_causal");
  const SafetensorsFile values = SafetensorsFile::open(folder + "/expected.safetensors");
  const TemporaryFolder out;
  const std::string file = (out.path() / "logits.safetensors").string();
  const std::string block = std::to_string(entry.at("block_len").get<int>());
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"logits", folder + "/checkpoint", "--ids",
                               join_ids(entry.at("input_ids")), "--compute", "exact", "-o", file});
    return run_program(more);
  };
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, std::vector<std::string>{"--chunk", block}}) {
    std::vector<std::string> words = {"--block-length", block};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult result = run(words);
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_LT(largest_difference(floats(SafetensorsFile::open(file), "logits"),
                                 floats(values, entry.at("logits"))),
              expected.at("tolerances").at("logits_abs"));
  }
  const ProgramResult cut = run({"--block-length", block, "--chunk", "3"});
  EXPECT_EQ(cut.status, 2);
  EXPECT_THAT(cut.err, testing::HasSubstr("--block-length"));
}

TEST(Logits, an_id_outside_the_vocabulary_is_bad_input) {
  const ProgramResult result = run_program(
      {"logits", shared_path("reference/llama/llama/checkpoint"), "--ids", "1,295", "--json"});
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.json().at("error").at("code"), 3);
  EXPECT_THAT(result.err, testing::HasSubstr("token id 295 is outside the vocabulary of 295"));
}

TEST(Logits, a_folder_without_tokenizer_is_named_where_text_is_given) {
  const ProgramResult result =
      run_program({"logits", shared_path("reference/llama/llama/checkpoint"), "--prompt", "Hello"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, testing::HasSubstr("tokenizer.json"));
}

}  // namespace
}  // namespace quiver::test
