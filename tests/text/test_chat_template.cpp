// Chat templates against the reference environment, and where they are found.
#include "core/text/chat_template.hpp"

#include <cstdlib>
#include <ctime>

#include "tests/text/text_test.hpp"

namespace quiver::text {
namespace {

using nlohmann::ordered_json;
using test::expected;
using test::shared;

const char* const kMessages = R"([{"role": "user", "content": "hi <b>"}])";

/// The times in expected.json are in UTC.
struct UtcZone {
  UtcZone() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

ChatRequest request_of(const ordered_json& chat) {
  ChatRequest request;
  request.messages_json = chat["messages"].dump();
  if (chat.contains("tools")) request.tools_json = chat["tools"].dump();
  if (chat.contains("variables")) request.variables_json = chat["variables"].dump();
  request.add_generation_prompt = chat.value("add_generation_prompt", true);
  request.now_seconds = expected()["now"].get<std::int64_t>();
  return request;
}

std::string render(const std::string& source, const TokenizerConfig& config = {}) {
  ChatRequest request;
  request.messages_json = kMessages;
  return ChatTemplate::from_source(source, config).render(request);
}

TEST(ChatTemplate, renders_every_feature_as_the_reference_environment) {
  const UtcZone zone;
  TokenizerConfig config;
  config.special_tokens["bos_token"] = "<s>";
  for (const auto& one : expected()["snippets"]) {
    ChatRequest request;
    request.messages_json = kMessages;
    request.variables_json = expected()["variables"].dump();
    request.now_seconds = expected()["now"].get<std::int64_t>();
    const auto source = one["source"].get<std::string>();
    EXPECT_EQ(ChatTemplate::from_source(source, config).render(request),
              one["text"].get<std::string>())
        << source;
  }
}

TEST(ChatTemplate, renders_whole_chats_as_the_reference_environment) {
  for (const auto& file : expected()["chats"]) {
    const auto source = test::read_file(shared(file["template"]));
    const auto chat_template = ChatTemplate::from_source(source);
    for (const auto& chat : file["cases"]) {
      EXPECT_EQ(chat_template.render(request_of(chat)), chat["text"].get<std::string>())
          << chat["messages"];
    }
  }
}

TEST(ChatTemplate, gives_the_words_of_raise_exception) {
  const auto error = test::error_of([] {
    (void)render(
        "{% macro check() %}{{ raise_exception('Roles must alternate!\nReally.') }}{% endmacro %}"
        "{% for m in messages %}{{ check() }}{% endfor %}");
  });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::bad_input);
  EXPECT_EQ(error->message(), "Roles must alternate! Really.");
}

TEST(ChatTemplate, names_the_line_of_other_errors) {
  const auto error = test::error_of([] { (void)render("a\nb\n{{ missing.part }}"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::bad_input);
  EXPECT_NE(error->message().find("line 3"), std::string::npos) << error->what();
}

TEST(ChatTemplate, refuses_templates_that_do_not_parse) {
  for (const char* source : {"{% for", "{{ 'a", "{% if 1 %}", "{% endfor %}", "{{ a b }}", "{%}",
                             "{% unknown %}", "{{ \xFF }}"}) {
    EXPECT_BAD_INPUT(ChatTemplate::from_source(source));
  }
  EXPECT_BAD_INPUT(ChatTemplate::from_source(std::string(2 << 20, ' ')));
}

TEST(ChatTemplate, refuses_requests_that_are_no_json) {
  const auto chat_template = ChatTemplate::from_source("{{ messages|length }}");
  for (const char* messages : {"", "[", "[\"\\ud800\"]", "\xFF"}) {
    ChatRequest request;
    request.messages_json = messages;
    EXPECT_BAD_INPUT(chat_template.render(request));
  }
  ChatRequest request;
  request.messages_json = "[]";
  request.variables_json = "[]";
  EXPECT_BAD_INPUT(chat_template.render(request));
  request.variables_json = "";
  request.tools_json = "{";
  EXPECT_BAD_INPUT(chat_template.render(request));
}

TEST(ChatTemplate, lets_variables_win_over_special_tokens) {
  TokenizerConfig config;
  config.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  ChatRequest request;
  request.messages_json = "[]";
  request.variables_json = R"({"bos_token": "B"})";
  request.add_generation_prompt = false;
  EXPECT_EQ(
      ChatTemplate::from_source("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}", config)
          .render(request),
      "B</s>False");
}

TEST(ChatTemplate, chooses_the_tool_template_when_there_are_tools) {
  TokenizerConfig config;
  config.chat_templates = {{"default", "plain"}, {"tool_use", "tools"}, {"rag", "rag"}};
  const auto chat_template = ChatTemplate::from_config(config);
  ASSERT_TRUE(chat_template.has_value());
  ChatRequest request;
  request.messages_json = "[]";
  EXPECT_EQ(chat_template->render(request), "plain");
  request.tools_json = R"([{"type": "function"}])";
  EXPECT_EQ(chat_template->render(request), "tools");
  request.template_name = "rag";
  EXPECT_EQ(chat_template->render(request), "rag");
  request.template_name = "missing";
  EXPECT_BAD_INPUT(chat_template->render(request));
  EXPECT_FALSE(ChatTemplate::from_config({}).has_value());
}

TEST(ChatTemplate, prefers_the_file_of_its_own_in_a_folder) {
  const test::TemporaryFolder folder;
  EXPECT_FALSE(ChatTemplate::load_folder(folder.path()).has_value());
  ChatRequest request;
  request.messages_json = "[]";
  const auto rendered = [&] { return ChatTemplate::load_folder(folder.path())->render(request); };

  folder.write("tokenizer_config.json",
               R"({"bos_token": "<s>", "chat_template": "config{{ bos_token }}"})");
  EXPECT_EQ(rendered(), "config<s>");
  folder.write("chat_template.json", R"({"chat_template": "json{{ bos_token }}"})");
  EXPECT_EQ(rendered(), "json<s>");
  folder.write("chat_template.jinja", "jinja{{ bos_token }}\n");
  folder.write("additional_chat_templates/rag.jinja", "more");
  EXPECT_EQ(rendered(), "jinja<s>");
  request.template_name = "rag";
  EXPECT_EQ(rendered(), "more");
  folder.write("chat_template.jinja", "{% if");
  EXPECT_BAD_INPUT(ChatTemplate::load_folder(folder.path()));
}

/// Thinking, tools and pictures are the checkpoint's own words; the expectations follow from its
/// template by hand.
TEST(ChatTemplate, thinking_tools_and_pictures_come_from_the_checkpoint) {
  const auto found = ChatTemplate::load_folder(shared("models/qwen3_5-tiny-real"));
  ASSERT_TRUE(found.has_value());
  ChatRequest request;
  request.messages_json =
      R"([{"role": "system", "content": "Be brief."},
          {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}])";
  EXPECT_EQ(found->render(request),
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n");
  request.variables_json = R"({"enable_thinking": false})";
  EXPECT_TRUE(found->render(request).ends_with("assistant\n<think>\n\n</think>\n\n"));
  // A call with typed arguments, and its result; what was thought before the last question is gone.
  request.variables_json = {};
  request.messages_json =
      R"([{"role": "user", "content": "Add."},
          {"role": "assistant", "content": "", "reasoning_content": "sum",
           "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1, "b": [2], "c": "x"}}}]},
          {"role": "tool", "content": "3"},
          {"role": "user", "content": "Thanks."}])";
  EXPECT_EQ(found->render(request),
            "<|im_start|>user\nAdd.<|im_end|>\n"
            "<|im_start|>assistant\n<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n"
            "<parameter=b>\n[2]\n</parameter>\n<parameter=c>\nx\n</parameter>\n</function>\n"
            "</tool_call><|im_end|>\n"
            "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n"
            "<|im_start|>user\nThanks.<|im_end|>\n<|im_start|>assistant\n<think>\n");
}

}  // namespace
}  // namespace quiver::text
