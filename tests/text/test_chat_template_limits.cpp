// Templates that try to take all time, all memory or all stack.
#include "core/text/chat_template.hpp"

#include "tests/text/text_test.hpp"

namespace quiver::text {
namespace {

std::string render(const ChatTemplate& chat_template) {
  ChatRequest request;
  request.messages_json = "[]";
  return chat_template.render(request);
}

std::string render(const std::string& source) {
  return render(ChatTemplate::from_source(source));
}

TEST(ChatTemplateLimits, ends_endless_loops) {
  EXPECT_BAD_INPUT(
      render("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"));
}

TEST(ChatTemplateLimits, ends_endless_recursion) {
  EXPECT_BAD_INPUT(render("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"));
  EXPECT_BAD_INPUT(render("{% include 'chat_template' %}"));
  EXPECT_BAD_INPUT(ChatTemplate::from_source("{{ " + std::string(100000, '(') + " }}"));
}

TEST(ChatTemplateLimits, ends_text_that_doubles_for_ever_and_refuses_it_the_next_time) {
  const auto chat_template = ChatTemplate::from_source(
      "{% set ns = namespace(x='ab') %}"
      "{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  EXPECT_BAD_INPUT(render(chat_template));
  const auto again = test::error_of([&] { (void)render(chat_template); });
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(again->message().find("before"), std::string::npos) << again->what();
}

TEST(ChatTemplateLimits, ends_constants_that_would_fill_the_memory) {
  std::string source;
  for (int i = 0; i < 100; ++i) source += "{{ 'a' * 100000000 + 'b' }}";
  EXPECT_BAD_INPUT(ChatTemplate::from_source(source));
}

TEST(ChatTemplateLimits, ends_the_printing_of_a_value_that_holds_itself) {
  EXPECT_BAD_INPUT(render("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}"));
}

TEST(ChatTemplateLimits, survives_deeply_nested_values) {
  EXPECT_EQ(render("{% set ns = namespace(x=[]) %}"
                   "{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}done"),
            "done");
}

TEST(ChatTemplateLimits, gives_templates_no_files) {
  EXPECT_BAD_INPUT(render("{% include '/etc/hostname' %}"));
  EXPECT_BAD_INPUT(render("{% import '../tokenizer.json' as x %}"));
}

}  // namespace
}  // namespace quiver::text
