// SmolLM2-135M-Instruct imported from its GGUF file: tokens, texts and perplexity as the reference
// implementation recorded them.
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/model/json_file.hpp"
#include "tests/cli/run_program.hpp"
#include "tests/support/checkpoint_folder.hpp"

namespace quiver::test {
namespace {

class SmolLm2 : public testing::Test {
 protected:
  /// Imports once for all tests, without rounding the quantized weights.
  static void SetUpTestSuite() {
    const char* gguf = std::getenv("QUIVER_SMOLLM2_GGUF");
    ASSERT_NE(gguf, nullptr) << "set QUIVER_SMOLLM2_GGUF to the file";
    folder = new TemporaryFolder;
    const auto result = run_program({"import", gguf, "-o", model(), "--keep-quantized"});
    ASSERT_EQ(result.status, 0) << result.err;
  }
  static void TearDownTestSuite() {
    delete folder;
    folder = nullptr;
  }

  static std::string model() { return (folder->path() / "model").string(); }

  static nlohmann::json run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--json", "--compute", "exact"});
    const auto result = run_program(arguments);
    EXPECT_EQ(result.status, 0) << result.err << result.out;
    return result.json();
  }

  nlohmann::json expected = read_json_file(shared_path("reference/smollm2/expected.json"));
  static inline TemporaryFolder* folder = nullptr;
};

TEST_F(SmolLm2, every_tricky_text_is_tokenized_as_recorded) {
  const auto cases = read_json_file(shared_path("reference/smollm2/tokenization.json")).at("cases");
  ASSERT_GE(cases.size(), 56U);
  for (const auto& entry : cases) {
    const std::string text = entry.at("text");
    TemporaryFolder input;
    input.write("text", text);
    const auto got = run({"tokenize", model(), "--file", (input.path() / "text").string()});
    EXPECT_EQ(got.at("ids"), entry.at("ids")) << text;
  }
}

TEST_F(SmolLm2, greedy_continuations_match_up_to_the_safe_prefix) {
  for (const auto& entry : expected.at("cases")) {
    const std::size_t safe = entry.at("safe_prefix");
    const auto got = run({"generate", model(), "--ids", join_ids(entry.at("prompt_ids")),
                          "--max-tokens", std::to_string(std::max<std::size_t>(safe, 1))});
    const auto& want = entry.at("greedy_ids");
    ASSERT_GE(got.at("ids").size(), safe) << entry.at("text");
    for (std::size_t i = 0; i < safe; ++i) EXPECT_EQ(got.at("ids")[i], want[i]) << entry.at("text");
  }
}

TEST_F(SmolLm2, the_capital_of_france_is_answered_through_the_chat_template) {
  for (const auto& entry : expected.at("cases")) {
    if (entry.at("kind") != "chat") continue;
    const auto got = run({"tokenize", model(), "--chat", entry.at("text")});
    EXPECT_EQ(got.at("ids"), entry.at("prompt_ids")) << entry.at("text");
  }
  const auto got = run({"generate", model(), "--chat", "What is the capital of France?"});
  EXPECT_EQ(got.at("text"), "The capital of France is Paris.");
  EXPECT_EQ(got.at("finish_reason"), "stop");
}

TEST_F(SmolLm2, perplexity_is_within_a_thousandth) {
  const auto got = run({"perplexity", model(), shared_path("reference/smollm2/ppl.txt")});
  const double want = expected.at("perplexity").at("ppl");
  EXPECT_EQ(got.at("tokens"), expected.at("perplexity").at("tokens"));
  EXPECT_NEAR(got.at("perplexity").get<double>(), want, 1e-3 * want);
}

}  // namespace
}  // namespace quiver::test
