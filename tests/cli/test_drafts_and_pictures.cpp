// Draft heads, look-ups and pictures from the command line.
#include "core/model/json_file.hpp"
#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kHybrid = shared_path("models/qwen3_5-tiny-real");
const std::filesystem::path kImages = shared_path("reference/qwen3_5/image");

ProgramResult generate(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {
      "generate", kHybrid, "--prompt", "The following example shows how to", "--max-tokens", "40"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

nlohmann::json generate_json(std::vector<std::string> more) {
  more.emplace_back("--json");
  const ProgramResult result = generate(more);
  EXPECT_EQ(result.status, 0) << result.err;
  return result.json();
}

TEST(Drafts, of_the_head_and_from_the_text_change_nothing) {
  for (const std::vector<std::string>& rule :
       std::vector<std::vector<std::string>>{{},
                                             {"--temp", "1", "--seed", "3"},
                                             {"--repetition-penalty", "1.2"},
                                             {"--stop", "time"},
                                             {"--regex", "[a-z ]{20,30}\\."},
                                             {"--kv", "affine:bits=8"}}) {
    const auto with = [&](std::vector<std::string> more) {
      more.insert(more.end(), rule.begin(), rule.end());
      return generate_json(more);
    };
    const auto plain = with({"--decode", "ar"});
    EXPECT_EQ(plain.at("rounds"), 0);
    for (const std::vector<std::string>& mode : std::vector<std::vector<std::string>>{
             {"--decode", "mtp", "--draft-tokens", "2"},
             {"--decode", "mtp", "--draft-tokens", "4", "--mtp-history", "off"},
             {"--decode", "ngram", "--draft-tokens", "5"},
             {}}) {
      const auto drafted = with(mode);
      EXPECT_EQ(drafted.at("text"), plain.at("text")) << rule.size();
      EXPECT_EQ(drafted.at("ids"), plain.at("ids"));
    }
    EXPECT_GT(with({"--decode", "mtp", "--draft-tokens", "2"}).at("rounds"), 0);
  }
}

TEST(Drafts, what_does_not_fit_is_refused) {
  const auto refused = [](const std::vector<std::string>& more, const char* words) {
    const ProgramResult result = generate(more);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
  };
  refused({"--decode", "ar", "--mtp-history", "off"}, "--mtp-history");
  refused({"--decode", "mtp", "--draft-tokens", "9"}, "4 tokens at most");
  const ProgramResult result = run_program(
      {"generate", shared_path("models/dhara-tiny-real"), "--prompt", "a", "--decode", "mtp"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("draft head"));
}

std::string ids_text(const nlohmann::json& ids) {
  std::string text;
  for (const nlohmann::json& id : ids) text += (text.empty() ? "" : ",") + id.dump();
  return text;
}

TEST(Pictures, in_prompts_give_the_recorded_texts) {
  const auto expected = read_json_file(kImages / "expected.json").at("cases");
  for (const char* name : {"one_image", "two_images"}) {
    const auto& entry = expected.at(name);
    std::vector<std::string> arguments = {"generate",     kImages / "checkpoint",
                                          "--ids",        ids_text(entry.at("input_ids")),
                                          "--max-tokens", "16",
                                          "--ignore-eos", "--compute",
                                          "exact",        "--json"};
    for (const std::string file : entry.at("images")) {
      arguments.insert(arguments.end(), {"--image", kImages / file});
    }
    const ProgramResult result = run_program(arguments);
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.json().at("ids"), entry.at("greedy_16")) << name;
  }
}

TEST(Pictures, logits_behind_them_are_those_of_the_recording) {
  const auto entry = read_json_file(kImages / "expected.json").at("cases").at("one_image");
  const ProgramResult result =
      run_program({"logits", kImages / "checkpoint", "--ids", ids_text(entry.at("input_ids")),
                   "--image", kImages / "image0.png", "--compute", "exact", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json().at("argmax").back(), entry.at("greedy_16").at(0));
}

TEST(Pictures, that_cannot_be_shown_are_refused_in_one_line) {
  const TemporaryFolder folder;
  const auto text = folder.path() / "text.png";
  std::ofstream(text) << "no picture";
  const auto refused = [](const std::vector<std::string>& arguments, int status,
                          const std::string& words) {
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
  };
  const std::string model = kImages / "checkpoint";
  refused({"generate", model, "--ids", "1,2", "--image", text}, 3, "text.png");
  refused({"generate", model, "--ids", "1,2", "--image", folder.path() / "none.jpg"}, 3,
          "none.jpg");
  refused({"generate", model, "--ids", "313,316,314,316,5", "--image", kImages / "image0.png"}, 2,
          "places for 2 pictures");
  refused({"generate", kHybrid, "--prompt", "a", "--image", kImages / "image0.png"}, 2,
          "does not look at pictures");
}

}  // namespace
}  // namespace quiver::test
