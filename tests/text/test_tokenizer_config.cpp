// tokenizer_config.json in all its spellings.
#include "core/text/tokenizer_config.hpp"

#include "tests/text/text_test.hpp"

namespace quiver::text {
namespace {

TokenizerConfig parse(const std::string& json) {
  return parse_tokenizer_config(json, "config");
}

TEST(TokenizerConfig, reads_tokens_written_as_text_as_object_or_as_null) {
  const auto config = parse(
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null,
          "add_bos_token": true, "model_max_length": 5, "extra_special_tokens": {"image_token": "<i>"}})");
  EXPECT_EQ(config.special("bos_token"), "<s>");
  EXPECT_EQ(config.special("eos_token"), "</s>");
  EXPECT_EQ(config.special("image_token"), "<i>");
  EXPECT_EQ(config.special("pad_token"), std::nullopt);
  EXPECT_EQ(config.special_tokens.size(), 3U);
  EXPECT_EQ(config.add_bos_token, true);
  EXPECT_EQ(config.add_eos_token, std::nullopt);
}

TEST(TokenizerConfig, reads_one_template_or_a_list_of_them) {
  EXPECT_EQ(parse(R"({"chat_template": "x"})").chat_templates.at("default"), "x");
  const auto config = parse(
      R"({"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]})");
  EXPECT_EQ(config.chat_templates.at("default"), "a");
  EXPECT_EQ(config.chat_templates.at("tool_use"), "b");
  EXPECT_TRUE(parse(R"({"chat_template": null})").chat_templates.empty());
  EXPECT_TRUE(parse("").chat_templates.empty());
}

TEST(TokenizerConfig, refuses_what_has_the_wrong_type) {
  for (const char* json :
       {"[]", "3", "{", "\xFF", R"({"eos_token": 3})", R"({"eos_token": {"a": 1}})",
        R"({"chat_template": 3})", R"({"chat_template": [{"name": "x"}]})",
        R"({"chat_template": ["x"]})"}) {
    EXPECT_BAD_INPUT(parse(json));
  }
  EXPECT_BAD_INPUT(parse(std::string(100000, '[')));
}

}  // namespace
}  // namespace quiver::text
