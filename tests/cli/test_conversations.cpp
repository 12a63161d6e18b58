// quiver chat with models whose state cannot go back, and with pictures.
#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kHybrid = shared_path("models/qwen3_5-tiny-real");
const std::filesystem::path kImages = shared_path("reference/qwen3_5/image");

ProgramResult chat(const std::string& model, const std::string& lines,
                   const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"chat", model,          "--max-tokens",
                                        "12",   "--ignore-eos", "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments, {.text = lines});
}

std::size_t tokens_of(const std::string& text) {
  return run_program({"tokenize", kHybrid, text, "--no-special", "--json"}).json().at("ids").size();
}

std::string turn(const std::string& role, const std::string& content) {
  return "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
}

TEST(Conversations, go_back_to_before_an_answer_that_reads_otherwise_later) {
  // Its answers begin with <think>, which the template leaves out of earlier turns.
  const std::string opened = "<|im_start|>assistant\n<think>\n";
  for (const std::vector<std::string>& rule : std::vector<std::vector<std::string>>{
           {}, {"--decode", "mtp"}, {"--kv", "affine:bits=8", "--kv-recent", "32"}}) {
    const auto json = chat(kHybrid, "Hello\nAnd then?\nOh.\n", rule).json();
    const auto& turns = json.at("turns");
    ASSERT_EQ(turns.size(), 3U);
    std::string conversation;
    std::size_t before = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(turns.at(i).at("cached_tokens"), before) << i;
      conversation += turn("user", json.at("messages").at(2 * i).at("content"));
      before = tokens_of(conversation);
      EXPECT_EQ(turns.at(i).at("prompt_tokens"), tokens_of(conversation + opened));
      std::vector<std::string> arguments = {
          "generate",     kHybrid, "--prompt",     conversation + opened,
          "--max-tokens", "12",    "--ignore-eos", "--json"};
      arguments.insert(arguments.end(), rule.begin(), rule.end());
      const std::string answer = json.at("messages").at(2 * i + 1).at("content");
      EXPECT_EQ(run_program(arguments).json().at("text"), answer) << "what is cached changed it";
      conversation += turn("assistant", answer);
    }
  }
}

/// The model of the recordings with letters for tokens and a template that shows pictures.
class PictureChat : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string model_ = folder_.path() / "model";

  void SetUp() override {
    std::filesystem::copy(kImages / "checkpoint", model_, std::filesystem::copy_options::recursive);
    nlohmann::json vocabulary;
    for (int id = 0; id < 313; ++id) {
      const bool is_ascii = (id >= ' ' && id <= '~') || id == '\n';
      const char letter[] = {static_cast<char>(0xC4 + id / 64), static_cast<char>(0x80 + id % 64)};
      vocabulary[is_ascii ? std::string(1, static_cast<char>(id)) : std::string(letter, 2)] = id;
    }
    vocabulary["<|vision_start|>"] = 313;
    vocabulary["<|vision_end|>"] = 314;
    vocabulary["<|image_pad|>"] = 316;
    const auto special = [](int id, const char* text) {
      return nlohmann::json{{"id", id},        {"content", text}, {"single_word", false},
                            {"lstrip", false}, {"rstrip", false}, {"normalized", false},
                            {"special", true}};
    };
    const nlohmann::json tokenizer = {
        {"version", "1.0"},
        {"added_tokens",
         {special(313, "<|vision_start|>"), special(314, "<|vision_end|>"),
          special(316, "<|image_pad|>")}},
        {"decoder", {{"type", "Fuse"}}},
        {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
    folder_.write("model/tokenizer.json", tokenizer.dump());
    folder_.write("model/tokenizer_config.json", "{}");
    folder_.write(
        "model/chat_template.jinja",
        "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
        "{% for part in m.content %}{% if part.type == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}");
  }

  std::string picture(int index) const {
    return kImages / ("image" + std::to_string(index) + ".png");
  }

  /// What a turn is beside a text that is generated on its own.
  void expect_turn(const nlohmann::json& chat, std::size_t turn, const std::string& prompt,
                   const std::vector<int>& pictures) const {
    std::vector<std::string> arguments = {"generate",     model_, "--prompt",     prompt,
                                          "--max-tokens", "12",   "--ignore-eos", "--json"};
    for (const int index : pictures) {
      arguments.insert(arguments.end(), {"--image", picture(index)});
    }
    const auto json = run_program(arguments).json();
    EXPECT_EQ(chat.at("messages").at(2 * turn + 1).at("content"), json.at("text")) << turn;
    EXPECT_EQ(chat.at("turns").at(turn).at("prompt_tokens"), json.at("usage").at("prompt_tokens"));
  }
};

constexpr const char* kPlace = "<|vision_start|><|image_pad|><|vision_end|>";

TEST_F(PictureChat, messages_show_the_pictures_that_were_added_before_them) {
  const ProgramResult result = chat(
      model_, "What is this?\n/image " + picture(1) + "\nAnd this?\n/image no-such-file.png\nBye\n",
      {"--image", picture(0)});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no-such-file.png"));
  const auto json = result.json();
  ASSERT_EQ(json.at("messages").size(), 6U);
  EXPECT_EQ(json.at("messages").at(4).at("content"), "Bye");
  const auto answer = [&](std::size_t turn) {
    return json.at("messages").at(2 * turn + 1).at("content").get<std::string>();
  };
  std::string prompt = "user: " + std::string(kPlace) + "What is this?\nassistant: ";
  expect_turn(json, 0, prompt, {0});
  prompt += answer(0) + "\nuser: " + kPlace + "And this?\nassistant: ";
  expect_turn(json, 1, prompt, {0, 1});
  EXPECT_GT(json.at("turns").at(1).at("cached_tokens"), 0);
  prompt += answer(1) + "\nuser: Bye\nassistant: ";
  expect_turn(json, 2, prompt, {0, 1});
  EXPECT_GT(json.at("turns").at(2).at("cached_tokens"), json.at("turns").at(1).at("cached_tokens"));
}

TEST_F(PictureChat, a_new_conversation_has_no_pictures) {
  const auto json = chat(model_, "/image " + picture(0) + "\n/reset\nHello\n").json();
  EXPECT_EQ(json.at("messages").at(0).at("content"), "Hello");
  expect_turn(json, 0, "user: Hello\nassistant: ", {});
}

TEST_F(PictureChat, a_model_that_looks_at_none_says_so) {
  const ProgramResult result = chat(kHybrid, "Hello\n", {"--image", picture(0)});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("does not look at pictures"));
}

}  // namespace
}  // namespace quiver::test
