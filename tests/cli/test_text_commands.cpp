// quiver tokenize, detokenize, perplexity, kl and chat.
#include "tests/cli/run_program.hpp"

#include "core/model/json_file.hpp"
#include "tests/support/checkpoint_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kModel = shared_path("reference/convert/llama_a/checkpoint");

/// A copy of the model with a chat template.
class ChatModel : public testing::Test {
 protected:
  TemporaryFolder folder_;

  void SetUp() override {
    for (const auto& entry : std::filesystem::directory_iterator(kModel)) {
      std::filesystem::copy_file(entry.path(), folder_.path() / entry.path().filename());
    }
    folder_.write("chat_template.jinja",
                  "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}"
                  "{% if add_generation_prompt %}[assistant]\n{% endif %}");
  }

  nlohmann::json chat(const std::string& lines, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"chat", folder_.path().string(), "--max-tokens",
                                          "8",    "--ignore-eos",          "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = run_program(arguments, {.text = lines});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.json();
  }
};

TEST(Tokenize, ids_and_pieces_belong_together_and_turn_back_into_the_text) {
  const std::string text = "Hello, wörld! 日本語 \xF0\x9F\x98\x80\n\tx = 1;";
  const auto json = run_program({"tokenize", kModel, text, "--json"}).json();
  ASSERT_FALSE(json.at("ids").empty());
  EXPECT_EQ(json.at("ids").size(), json.at("pieces").size());
  const auto back =
      run_program({"detokenize", kModel, "--ids", join_ids(json.at("ids")), "--json"}).json();
  EXPECT_EQ(back.at("text"), text);
}

TEST(Tokenize, a_file_and_an_argument_give_the_same) {
  const auto by_argument = run_program({"tokenize", kModel, "some text", "--json"}).json();
  const auto by_file =
      run_program({"tokenize", kModel, "--file", "-", "--json"}, {.text = "some text"}).json();
  EXPECT_EQ(by_argument, by_file);
}

TEST(Tokenize, text_that_is_not_utf8_is_bad_input) {
  EXPECT_EQ(run_program({"tokenize", kModel, "\xff\xfe"}).status, 3);
}

TEST(Tokenize, for_people_is_a_line_a_token) {
  const ProgramResult result = run_program({"tokenize", kModel, "ab"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, testing::MatchesRegex("([0-9]+\t'.*'\n)+"));
}

TEST(Detokenize, an_id_outside_the_vocabulary_is_bad_input) {
  EXPECT_EQ(run_program({"detokenize", kModel, "--ids", "1,1000000"}).status, 3);
}

TEST(Detokenize, a_broken_tokenizer_is_named) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", "{\"model\": 5");
  const ProgramResult result = run_program({"detokenize", folder.path().string(), "--ids", "1"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("tokenizer.json"));
}

TEST(Perplexity, is_exp_of_the_mean_nll_and_does_not_depend_on_threads) {
  const TemporaryFolder folder;
  folder.write("text.txt", "The quick brown fox jumps over the lazy dog. " + std::string(200, 'x'));
  const std::string file = (folder.path() / "text.txt").string();
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"perplexity", kModel, file, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments).json();
  };
  const auto json = run({"--threads", "1"});
  EXPECT_NEAR(json.at("perplexity").get<double>(), std::exp(json.at("nll").get<double>()), 1e-9);
  EXPECT_EQ(json.at("scored").get<int>(), json.at("tokens").get<int>() - 1);
  EXPECT_EQ(json, run({"--threads", "3"}));
  const auto windows = run({"--context", "16", "--stride", "8"});
  EXPECT_EQ(windows.at("tokens"), json.at("tokens"));
  EXPECT_NE(windows.at("nll"), json.at("nll"));
}

TEST(Divergence, exact_against_exact_is_zero_and_fast_is_near) {
  const TemporaryFolder folder;
  const auto file = folder.write("text.txt", "It was a bright cold day in April.").string();
  // The quantized model came without its tokenizer.
  const std::string model = (folder.path() / "model").string();
  std::filesystem::copy(shared_path("reference/convert/llama_a/converted"), model);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::copy(std::filesystem::path(kModel) / name,
                          std::filesystem::path(model) / name);
  }
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"kl", model, "exact", file, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments).json();
  };
  const auto exact = run({"--compute", "exact"});
  EXPECT_EQ(exact.at("kl_mean"), 0.0);
  EXPECT_EQ(exact.at("top1_agreement"), 1.0);
  const auto fast = run({});
  EXPECT_GT(fast.at("kl_mean"), 0.0);
  EXPECT_LT(fast.at("kl_mean"), 1e-6);
  EXPECT_EQ(run({"--rows", "decode"}), fast) << "prompts and decoded rows have the same bits";
  EXPECT_GT(run({"--activations", "8"}).at("kl_mean"), fast.at("kl_mean"));
  EXPECT_EQ(run({"--activations", "32"}).at("kl_mean"), 0.0);
}

TEST(Perplexity, a_text_of_one_token_is_bad_input) {
  EXPECT_EQ(run_program({"perplexity", kModel, "-"}, {.text = "a"}).status, 3);
}

TEST_F(ChatModel, history_stays_in_the_cache) {
  const auto json = chat("Hello\nAnd then?\nOh.\n");
  ASSERT_EQ(json.at("messages").size(), 6U);
  EXPECT_EQ(json.at("messages").at(2).at("content"), "And then?");
  const auto& turns = json.at("turns");
  ASSERT_EQ(turns.size(), 3U);
  EXPECT_EQ(turns.at(0).at("cached_tokens"), 0);
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_GE(turns.at(i).at("cached_tokens").get<int>(),
              turns.at(i - 1).at("prompt_tokens").get<int>())
        << "the earlier prompt was fed again";
  }
}

TEST_F(ChatModel, the_cache_does_not_change_an_answer) {
  const auto json = chat("Hello\nAnd then?\n");
  std::string prompt = "[user]\nHello\n[assistant]\n" +
                       json.at("messages").at(1).at("content").get<std::string>() +
                       "\n[user]\nAnd then?\n[assistant]\n";
  const auto whole = run_program({"generate", folder_.path().string(), "--prompt", prompt,
                                  "--max-tokens", "8", "--ignore-eos", "--json"})
                         .json();
  EXPECT_EQ(json.at("messages").at(3).at("content"), whole.at("text"));
}

TEST_F(ChatModel, reset_forgets_and_exit_leaves) {
  const auto json = chat("Hello\n/reset\nAgain\n/exit\nNever\n", {"--system", "Be brief"});
  ASSERT_EQ(json.at("messages").size(), 3U);
  EXPECT_EQ(json.at("messages").at(0).at("role"), "system");
  EXPECT_EQ(json.at("messages").at(1).at("content"), "Again");
}

TEST_F(ChatModel, one_chat_message_is_the_template_around_it) {
  const auto chat_ids =
      run_program({"tokenize", folder_.path().string(), "Hi", "--chat", "--json"}).json().at("ids");
  const auto text_ids = run_program({"tokenize", folder_.path().string(),
                                     "[user]\nHi\n[assistant]\n", "--no-special", "--json"})
                            .json()
                            .at("ids");
  EXPECT_EQ(chat_ids, text_ids);
}

}  // namespace
}  // namespace quiver::test
