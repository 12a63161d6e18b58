// quiver kl and perplexity of several models, and kl over the built-in text.
#include "tests/cli/run_program.hpp"

#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quiver::test {
namespace {

using testing::HasSubstr;

/// A float model, and what a converter made of it with the tokenizer beside it.
class TwoModels : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path from = shared_path("reference/convert/llama_a");
    float_ = (from / "checkpoint").string();
    quantized_ = (folder_.path() / "quantized").string();
    std::filesystem::copy(from / "converted", quantized_);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy(from / "checkpoint" / name, quantized_ / std::filesystem::path(name));
    }
    text_ = folder_.write("text.txt", "stone green winter lamp index river under seven").string();
  }

  nlohmann::json run(std::vector<std::string> words) const {
    words.insert(words.end(), {"--compute", "exact", "--json"});
    const ProgramResult result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.json();
  }

  TemporaryFolder folder_;
  std::string float_;
  std::string quantized_;
  std::string text_;
};

TEST_F(TwoModels, kl_of_several_is_that_of_each) {
  const auto both = run({"kl", quantized_, float_, text_, "--also", float_});
  const auto first = run({"kl", quantized_, float_, text_});
  ASSERT_EQ(both.at("models").size(), 2U);
  EXPECT_EQ(both.at("models").at(0).at("model"), quantized_);
  EXPECT_EQ(both.at("models").at(1).at("model"), float_);
  for (const char* key : {"kl_mean", "kl_median", "kl_p95", "top1_agreement", "tokens"}) {
    EXPECT_EQ(both.at(key), first.at(key)) << key;
    EXPECT_EQ(both.at("models").at(0).at(key), first.at(key)) << key;
  }
  EXPECT_GT(both.at("kl_mean"), 0.0);
  EXPECT_EQ(both.at("models").at(1).at("kl_mean"), 0.0) << "a model against itself";
}

TEST_F(TwoModels, kl_without_a_file_takes_the_built_in_text) {
  const auto json = run({"kl", quantized_, float_, "--quiet"});
  EXPECT_EQ(json.at("tokens"), 12 * 256);
  EXPECT_GT(json.at("kl_mean"), 0.0);
  EXPECT_EQ(run({"kl", quantized_, float_, "--quiet"}), json);
}

TEST_F(TwoModels, perplexity_of_several_is_that_of_each) {
  const auto both = run({"perplexity", float_, text_, "--also", quantized_});
  ASSERT_EQ(both.at("models").size(), 2U);
  for (const char* key : {"perplexity", "nll", "tokens", "scored"}) {
    EXPECT_EQ(both.at(key), both.at("models").at(0).at(key)) << key;
    EXPECT_EQ(both.at("models").at(1).at(key), run({"perplexity", quantized_, text_}).at(key))
        << key;
  }
  EXPECT_NE(both.at("nll"), both.at("models").at(1).at("nll"));
}

TEST_F(TwoModels, for_people_there_is_a_row_a_model) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"kl", quantized_, float_, text_, "--also", float_},
        std::vector<std::string>{"perplexity", quantized_, text_, "--also", float_}}) {
    const ProgramResult result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.out, testing::StartsWith("model"));
    EXPECT_THAT(result.out, HasSubstr("\n" + quantized_ + "  "));
    EXPECT_THAT(result.out, HasSubstr("\n" + float_ + "  "));
  }
}

TEST_F(TwoModels, a_second_model_that_is_missing_is_told_before_the_first_is_measured) {
  const ProgramResult result = run_program({"kl", quantized_, float_, "--also", "/nowhere"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("/nowhere"));
}

}  // namespace
}  // namespace quiver::test
