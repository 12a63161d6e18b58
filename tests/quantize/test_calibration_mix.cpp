// The mix that comes with the program: complete, whole, and fit for real chat templates.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <map>
#include <set>
#include <sstream>

#include "core/quantize/calibration_mix.hpp"
#include "tests/quantize/calibration_fixture.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

using Json = nlohmann::json;

/// All that is said in a row.
std::string words_of(const CalibrationRow& row) {
  if (!row.is_chat()) return row.text;
  std::string text;
  for (const Json& message : Json::parse(row.messages_json)) {
    if (message.contains("content")) text += message.at("content").get<std::string>() + "\n";
    if (message.contains("tool_calls")) text += message.at("tool_calls").dump() + "\n";
  }
  return text + row.tools_json;
}

TEST(CalibrationMix, has_forty_rows_in_each_of_six_domains_in_order) {
  std::vector<std::string> domains;
  for (const CalibrationRow& row : builtin_calibration_rows()) domains.push_back(row.domain);
  std::map<std::string, int> counts;
  for (const std::string& domain : domains) ++counts[domain];
  EXPECT_EQ(counts, (std::map<std::string, int>{{"agent", 40},
                                                {"code", 40},
                                                {"constraint", 40},
                                                {"prose", 40},
                                                {"reasoning", 40},
                                                {"tool_call", 40}}));
  EXPECT_TRUE(std::ranges::is_sorted(domains));
}

TEST(CalibrationMix, rows_are_of_some_length_and_all_different) {
  std::set<std::string> openings;
  for (const CalibrationRow& row : builtin_calibration_rows()) {
    const std::string words = words_of(row);
    EXPECT_GT(words.size(), 300U) << row.where;
    EXPECT_LT(words.size(), 4000U) << row.where;
    EXPECT_TRUE(openings.insert(words.substr(0, 80)).second) << row.where;
  }
}

TEST(CalibrationMix, tool_calls_name_tools_that_are_offered_and_have_json_arguments) {
  int calls = 0;
  for (const CalibrationRow& row : builtin_calibration_rows()) {
    if (row.domain != "tool_call") continue;
    std::map<std::string, Json> tools;
    for (const Json& tool : Json::parse(row.tools_json)) {
      EXPECT_EQ(tool.at("type"), "function") << row.where;
      tools[tool.at("function").at("name")] = tool.at("function").at("parameters");
    }
    std::set<std::string> open;
    for (const Json& message : Json::parse(row.messages_json)) {
      for (const Json& call : message.value("tool_calls", Json::array())) {
        const Json& function = call.at("function");
        ASSERT_TRUE(tools.contains(function.at("name"))) << row.where << ": " << function;
        const Json arguments = Json::parse(function.at("arguments").get<std::string>());
        const Json& schema = tools.at(function.at("name"));
        for (const auto& [name, value] : arguments.items()) {
          EXPECT_TRUE(schema.at("properties").contains(name)) << row.where << ": " << name;
        }
        for (const Json& name : schema.value("required", Json::array())) {
          EXPECT_TRUE(arguments.contains(name.get<std::string>())) << row.where << ": " << name;
        }
        EXPECT_TRUE(open.insert(call.at("id")).second) << row.where;
        ++calls;
      }
      if (message.at("role") == "tool") {
        EXPECT_EQ(open.erase(message.at("tool_call_id")), 1U) << row.where;
        EXPECT_TRUE(Json::accept(message.at("content").get<std::string>())) << row.where;
      }
    }
    EXPECT_TRUE(open.empty()) << row.where << ": a call has no result";
  }
  EXPECT_GE(calls, 40);
}

TEST(CalibrationMix, every_row_goes_through_real_templates) {
  // A template that knows tools, and one that prints nothing but role and content.
  const auto with_tools = CalibrationText::load_folder(shared("models/qwen3_5-tiny-real"));
  const auto simple = text_with(
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
      "{{ '<|im_start|>system\nBe helpful<|im_end|>\n' }}{% endif %}"
      "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
      "{% endfor %}");
  ASSERT_TRUE(with_tools.has_template());
  for (const CalibrationRow& row : builtin_calibration_rows()) {
    const RenderedRow first = with_tools.render(row);
    const RenderedRow second = simple.render(row);
    EXPECT_EQ(first.form, row.is_chat() ? CalibrationForm::templated : CalibrationForm::text)
        << row.where;
    EXPECT_NE(second.form, CalibrationForm::plain) << row.where;
    EXPECT_FALSE(with_tools.encode(first).empty()) << row.where;
  }
}

}  // namespace
}  // namespace quiver::test
