// quiver generate: prompts, stops, samplers, grammars, streaming, Ctrl-C.
#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kWithText = shared_path("reference/convert/llama_a/checkpoint");
const std::string kWithoutText = shared_path("reference/llama/llama/checkpoint");

std::vector<std::string> generate(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"generate", kWithText, "--ignore-eos", "--max-tokens",
                                        "24"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

nlohmann::json generate_json(std::vector<std::string> more) {
  more.emplace_back("--json");
  const ProgramResult result = run_program(generate(more));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.json();
}

TEST(Generate, the_document_has_the_keys_of_the_contract) {
  const auto json = generate_json({"--prompt", "Hello"});
  EXPECT_TRUE(json.at("text").is_string());
  EXPECT_EQ(json.at("ids").size(), 24U);
  EXPECT_EQ(json.at("finish_reason"), "length");
  const auto& usage = json.at("usage");
  EXPECT_EQ(usage.at("completion_tokens"), 24);
  EXPECT_EQ(usage.at("total_tokens").get<int>(),
            usage.at("prompt_tokens").get<int>() + usage.at("completion_tokens").get<int>());
  for (const char* key : {"load_ms", "prompt_tps", "decode_tps", "ttft_ms"}) {
    EXPECT_GT(json.at("timings").at(key).get<double>(), 0) << key;
  }
}

TEST(Generate, text_that_streams_is_the_text_of_the_document) {
  const std::string text = generate_json({"--prompt", "Hello there"}).at("text");
  const ProgramResult streamed = run_program(generate({"--prompt", "Hello there"}));
  EXPECT_EQ(streamed.status, 0);
  EXPECT_EQ(streamed.err, "");
  EXPECT_EQ(streamed.out, text.ends_with('\n') ? text : text + "\n");
}

TEST(Generate, a_file_and_stdin_are_prompts_like_any) {
  const auto expected = generate_json({"--prompt", "Some text"}).at("ids");
  std::vector<std::string> arguments = generate({"--file", "-", "--json"});
  EXPECT_EQ(run_program(arguments, {.text = "Some text"}).json().at("ids"), expected);
}

TEST(Generate, without_a_tokenizer_ids_are_printed) {
  const ProgramResult result = run_program(
      {"generate", kWithoutText, "--ids", "1,2,3", "--max-tokens", "3", "--ignore-eos"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, testing::MatchesRegex("[0-9]+,[0-9]+,[0-9]+\n"));
}

TEST(Generate, a_stop_string_ends_the_text_before_it) {
  const std::string text = generate_json({"--prompt", "Hello"}).at("text");
  ASSERT_GE(text.size(), 8U);
  const std::string stop = text.substr(text.size() / 2, 3);
  const auto stopped =
      generate_json({"--prompt", "Hello", "--stop", "never there", "--stop", stop});
  EXPECT_EQ(stopped.at("text"), text.substr(0, text.find(stop)));
  EXPECT_EQ(stopped.at("finish_reason"), "stop");
}

TEST(Generate, a_seed_fixes_what_is_drawn) {
  const std::vector<std::string> drawn = {"--prompt", "Hello", "--temp", "2", "--seed"};
  const auto with_seed = [&](const char* seed) {
    std::vector<std::string> more = drawn;
    more.emplace_back(seed);
    return generate_json(more).at("ids");
  };
  EXPECT_EQ(with_seed("5"), with_seed("5"));
  EXPECT_NE(with_seed("5"), with_seed("6"));
}

TEST(Generate, threads_do_not_change_a_token) {
  EXPECT_EQ(generate_json({"--prompt", "Hello", "--temp", "1", "--threads", "1"}).at("ids"),
            generate_json({"--prompt", "Hello", "--temp", "1", "--threads", "3"}).at("ids"));
}

TEST(Generate, short_options_are_the_named_samplers_in_their_order) {
  EXPECT_EQ(generate_json({"--prompt", "Hello", "--temp", "0.7", "--top-p", "0.9", "--min-p",
                           "0.01", "--top-k", "30", "--repetition-penalty", "1.2"})
                .at("ids"),
            generate_json({"--prompt", "Hello", "--sampler", "repetition-penalty:penalty=1.2",
                           "--sampler", "top-p:p=0.9", "--sampler", "min-p:p=0.01", "--sampler",
                           "top-k:k=30", "--sampler", "temperature:t=0.7", "--sampler", "draw"})
                .at("ids"));
}

TEST(Generate, unknown_samplers_and_their_options_are_named) {
  const ProgramResult unknown =
      run_program(generate({"--prompt", "a", "--sampler", "nonesuch", "--json"}));
  EXPECT_EQ(unknown.status, 4);
  EXPECT_THAT(unknown.err, HasSubstr("nonesuch"));
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--sampler", "top-p:q=1"})).status, 2);
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--sampler", "top-p:p=1.5"})).status, 2);
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--sampler", "draw", "--temp", "1"})).status, 2);
}

TEST(Generate, half_precision_caches_change_little_and_unknown_ones_are_missing_plugins) {
  EXPECT_EQ(generate_json({"--prompt", "Hello", "--kv", "f16"}).at("ids").size(), 24U);
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--kv", "f7"})).status, 4);
}

TEST(Generate, packed_caches_take_options_and_eight_bits_change_little) {
  const auto exact = generate_json({"--prompt", "Hello"}).at("ids");
  EXPECT_EQ(generate_json({"--prompt", "Hello", "--kv", "affine:bits=8"}).at("ids"), exact);
  for (const char* kv : {"affine:key-bits=8,value-bits=4,group=32", "turboquant:bits=3",
                         "turboquant:bits=2,rotation=orthogonal"}) {
    EXPECT_EQ(generate_json({"--prompt", "Hello", "--kv", kv}).at("ids").size(), exact.size())
        << kv;
  }
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--kv", "affine:bits=5"})).status, 2);
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--kv", "turboquant:rotation=x"})).status, 2);
}

TEST(Generate, layers_take_their_bits_from_a_file_whose_errors_are_named) {
  const quiver::test::TemporaryFolder folder;
  const std::string file = (folder.path() / "kv_config.json").string();
  const auto ids = [](std::vector<std::string> options) {
    options.insert(options.begin(), {"--prompt", "Hello"});
    return generate_json(options).at("ids");
  };
  folder.write("kv_config.json", R"([{"layer_idx": 0, "bits": 4}, {"layer_idx": 1, "bits": 4}])");
  EXPECT_EQ(ids({"--kv-config", file}), ids({"--kv", "affine:bits=4"}));
  EXPECT_EQ(ids({"--kv", "affine:bits=4", "--kv-recent", "64"}), ids({"--kv", "f16"}))
      << "the text is shorter than what is kept in full";
  folder.write("kv_config.json", R"([{"layer_idx": 1, "bits": 7}])");
  const ProgramResult bad = run_program(generate({"--prompt", "a", "--kv-config", file}));
  EXPECT_EQ(bad.status, 3);
  EXPECT_THAT(bad.err, HasSubstr("layer 1"));
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--kv-recent", "0"})).status, 2);
}

TEST(Generate, a_regular_expression_holds_the_text) {
  const auto json = generate_json({"--prompt", "Number: ", "--regex", "[0-9]{3}-[a-c]{2}"});
  EXPECT_THAT(json.at("text").get<std::string>(),
              testing::MatchesRegex("[0-9][0-9][0-9]-[abc][abc]"));
  EXPECT_EQ(json.at("finish_reason"), "stop");
}

TEST(Generate, a_broken_grammar_is_bad_input) {
  const ProgramResult result = run_program(generate({"--prompt", "a", "--regex", "[a-"}));
  EXPECT_EQ(result.status, 3) << result.err;
  EXPECT_EQ(run_program(generate({"--prompt", "a", "--json-schema", "/nonexistent"})).status, 3);
}

TEST(Generate, an_empty_prompt_is_wrong_usage) {
  EXPECT_EQ(run_program(generate({"--prompt", ""})).status, 2);
}

TEST(Generate, a_template_that_is_missing_is_named) {
  const ProgramResult result = run_program(generate({"--chat", "Hello"}));
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("template"));
}

TEST(Generate, ctrl_c_ends_the_text_and_keeps_what_was_generated) {
  const ProgramResult result = run_program(
      {"generate", kWithText, "--prompt", "Hello", "--ignore-eos", "--max-tokens", "100000"},
      {.signal_on_output = SIGINT});
  EXPECT_EQ(result.status, 130);
  EXPECT_FALSE(result.out.empty());
}

}  // namespace
}  // namespace quiver::test
