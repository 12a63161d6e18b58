// Conversations through chat templates, obliging and refusing ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quantize/calibration_fixture.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const char* const kSimple =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";
const char* const kWithTools =
    "{% if tools %}{{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls %}!{{ c.function.name }}({{ c.function.arguments.city }})"
    "{% endfor %}\n{% endfor %}";
const char* const kStrict =
    "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}"
    "{{ raise_exception('no such role') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}\n"
    "{% endfor %}";

CalibrationRow chat(const std::string& messages, const std::string& tools = {}) {
  return {
      .domain = "chat", .text = {}, .messages_json = messages, .tools_json = tools, .where = {}};
}

const std::string kHello =
    R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}])";
const std::string kTools =
    R"([{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}])";
const std::string kCall =
    R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Rain in Ulm?"},)"
    R"({"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function",)"
    R"("function":{"name":"weather","arguments":"{\"city\": \"Ulm\"}"}}]},)"
    R"({"role":"tool","tool_call_id":"c1","content":"{\"rain\": true}"},)"
    R"({"role":"assistant","content":"Yes."}])";

TEST(CalibrationText, the_template_is_used_without_a_place_for_an_answer) {
  const RenderedRow row = text_with(kSimple).render(chat(kHello));
  EXPECT_EQ(row.text, "<user>Hi\n<assistant>Hello\n");
  EXPECT_EQ(row.form, CalibrationForm::templated);
}

TEST(CalibrationText, tools_and_calls_reach_a_template_that_knows_them) {
  const RenderedRow row = text_with(kWithTools).render(chat(kCall, kTools));
  EXPECT_EQ(row.form, CalibrationForm::templated);
  EXPECT_THAT(row.text, HasSubstr("!weather(Ulm)")) << "arguments are an object";
  EXPECT_THAT(row.text, HasSubstr("\"parameters\""));
}

TEST(CalibrationText, a_template_that_passes_over_tools_gets_them_as_text) {
  const RenderedRow row = text_with(kSimple).render(chat(kCall, kTools));
  EXPECT_EQ(row.form, CalibrationForm::simplified);
  EXPECT_EQ(row.text, "<user>Tools:\n" + kTools +
                          "\n\nBe brief.\n\nRain in Ulm?\n"
                          "<assistant>{\"name\":\"weather\",\"arguments\":{\"city\":\"Ulm\"}}\n"
                          "<user>{\"rain\": true}\n<assistant>Yes.\n");
}

TEST(CalibrationText, a_template_that_refuses_system_messages_gets_them_in_the_first_turn) {
  const RenderedRow row = text_with(kStrict).render(
      chat(R"([{"role":"system","content":"Be brief."},{"role":"user","content":"a"},)"
           R"({"role":"user","content":"b"},{"role":"assistant","content":"c"}])"));
  EXPECT_EQ(row.form, CalibrationForm::simplified);
  EXPECT_EQ(row.text, "<user>Be brief.\n\na\n\nb\n<assistant>c\n");
}

TEST(CalibrationText, without_a_template_roles_are_written_in_brackets) {
  const CalibrationText text = text_without_template();
  EXPECT_FALSE(text.has_template());
  const RenderedRow row = text.render(chat(kHello));
  EXPECT_EQ(row.text, "[user]: Hi\n\n[assistant]: Hello");
  EXPECT_EQ(row.form, CalibrationForm::plain);
  EXPECT_THAT(text.render(chat(kCall, kTools)).text, HasSubstr("\"city\":\"Ulm\""));
}

TEST(CalibrationText, a_template_that_refuses_everything_gives_plain_rows) {
  const CalibrationText text = text_with("{{ raise_exception('no') }}");
  EXPECT_EQ(text.render(chat(kHello)).form, CalibrationForm::plain);
  EXPECT_EQ(text.render_optiq(chat(kHello, kTools)), "[user]: Hi\n\n[assistant]: Hello");
}

TEST(CalibrationText, the_reference_drops_tools_that_a_template_refuses) {
  const CalibrationText text = text_with(
      "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + std::string(kSimple));
  EXPECT_EQ(text.render_optiq(chat(kHello, kTools)), "<user>Hi\n<assistant>Hello\n");
}

TEST(CalibrationText, the_clock_does_not_change_a_text) {
  const CalibrationText text = text_with("{{ strftime_now('%Y-%m-%d') }}");
  EXPECT_EQ(text.render(chat(kHello)).text, "2025-01-01");
}

TEST(CalibrationText, only_templates_bring_their_own_first_token) {
  const std::string tokenizer = R"({"version":"1.0","added_tokens":[
    {"id":0,"content":"<s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,
     "normalized":false}],
    "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>",
      "type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A",
      "type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
      "special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}},
    "decoder":null,
    "model":{"type":"WordLevel","vocab":{"<s>":0,"a":1,"b":2,"[unk]":3},"unk_token":"[unk]"}})";
  const CalibrationText text(text::Tokenizer::from_json(tokenizer),
                             text::ChatTemplate::from_source("<s>a b"));
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(text.encode({"a b", CalibrationForm::text}), (Ids{0, 1, 2}));
  EXPECT_EQ(text.encode({"a b", CalibrationForm::plain}), (Ids{0, 1, 2}));
  EXPECT_EQ(text.encode(text.render(chat(kHello))), (Ids{0, 1, 2}));
}

}  // namespace
}  // namespace quiver::test
