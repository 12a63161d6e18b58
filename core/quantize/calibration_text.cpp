// Rows of calibration text to tokens, through a model's tokenizer and chat template.
#include "core/quantize/calibration_text.hpp"

#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

#include <algorithm>

namespace quiver {
namespace {

using Json = nlohmann::ordered_json;

/// Templates may print the date; measurements should not change with it. 2025-01-01 12:00 UTC.
constexpr std::int64_t kTime = 1735732800;

/// What a message says, whatever form its content has.
std::string content_of(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) return {};
  return content->is_string() ? content->get<std::string>() : content->dump();
}

void append_paragraph(std::string& text, const std::string& more) {
  if (!text.empty() && !more.empty()) text += "\n\n";
  text += more;
}

/// The functions that the messages call, without the wrappings of the protocol.
std::vector<Json> calls_of(const Json& message) {
  std::vector<Json> calls;
  const auto found = message.find("tool_calls");
  if (found == message.end() || !found->is_array()) return calls;
  for (const Json& call : *found) {
    const auto function = call.is_object() ? call.find("function") : call.end();
    calls.push_back(function != call.end() ? *function : call);
  }
  return calls;
}

/// Content, and calls as JSON below it.
std::string whole_content(const Json& message) {
  std::string text = content_of(message);
  for (const Json& call : calls_of(message)) append_paragraph(text, call.dump());
  return text;
}

/// Most templates want arguments as objects, where the protocol has them as texts of JSON.
Json with_argument_objects(Json messages) {
  for (Json& message : messages) {
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) continue;
    for (Json& call : *calls) {
      if (!call.is_object() || !call.contains("function")) continue;
      Json& function = call.at("function");
      if (!function.is_object() || !function.contains("arguments")) continue;
      Json& arguments = function.at("arguments");
      if (!arguments.is_string()) continue;
      Json parsed = Json::parse(arguments.get<std::string>(), nullptr, false);
      if (parsed.is_object()) arguments = std::move(parsed);
    }
  }
  return messages;
}

/// Turns of a user and an assistant that alternate, the first one with all that belongs to neither.
Json simplified(const Json& messages, const std::string& tools) {
  Json turns = Json::array();
  std::string opening;
  if (!tools.empty()) opening = "Tools:\n" + tools;
  for (const Json& message : messages) {
    const std::string role = message.at("role").get<std::string>();
    if (role == "system" || role == "developer") {
      append_paragraph(opening, content_of(message));
      continue;
    }
    const char* speaker = role == "assistant" ? "assistant" : "user";
    std::string content = whole_content(message);
    if (!opening.empty() && role != "assistant") {
      append_paragraph(opening, content);
      content = std::exchange(opening, {});
    }
    if (!turns.empty() && turns.back().at("role") == speaker) {
      std::string before = turns.back().at("content").get<std::string>();
      append_paragraph(before, content);
      turns.back()["content"] = before;
    } else {
      turns.push_back({{"role", speaker}, {"content", content}});
    }
  }
  return turns;
}

std::string plain(const Json& messages, bool with_calls) {
  std::string text;
  for (const Json& message : messages) {
    append_paragraph(text, "[" + message.at("role").get<std::string>() +
                               "]: " + (with_calls ? whole_content(message) : content_of(message)));
  }
  return text;
}

/// Whether a template wrote down every call and offered every tool: some pass over them in silence.
bool has_all_tools(const std::string& rendered, const Json& messages, const std::string& tools) {
  const auto is_named = [&](const Json& function) {
    if (!function.is_object() || !function.contains("name")) return true;
    const Json& name = function.at("name");
    return !name.is_string() || rendered.find(name.get<std::string>()) != std::string::npos;
  };
  for (const Json& message : messages) {
    if (!std::ranges::all_of(calls_of(message), is_named)) return false;
  }
  if (tools.empty()) return true;
  return std::ranges::all_of(Json::parse(tools), [&](const Json& tool) {
    return is_named(tool.is_object() && tool.contains("function") ? tool.at("function") : tool);
  });
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

CalibrationText CalibrationText::load_folder(const std::filesystem::path& folder) {
  return {text::Tokenizer::load_folder(folder), text::ChatTemplate::load_folder(folder)};
}

std::optional<std::string> CalibrationText::render(const std::string& messages,
                                                   const std::string& tools) const {
  if (!template_) return std::nullopt;
  text::ChatRequest request;
  request.messages_json = messages;
  request.tools_json = tools;
  request.add_generation_prompt = false;
  request.now_seconds = kTime;
  try {
    return template_->render(request);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_input) throw;
    return std::nullopt;
  }
}

RenderedRow CalibrationText::render(const CalibrationRow& row) const {
  if (!row.is_chat()) return {row.text, CalibrationForm::text};
  const Json messages = with_argument_objects(Json::parse(row.messages_json));
  if (auto text = render(dump(messages), row.tools_json);
      text && has_all_tools(*text, messages, row.tools_json)) {
    return {std::move(*text), CalibrationForm::templated};
  }
  if (auto text = render(dump(simplified(messages, row.tools_json)), {})) {
    return {std::move(*text), CalibrationForm::simplified};
  }
  return {plain(messages, true), CalibrationForm::plain};
}

std::string CalibrationText::render_optiq(const CalibrationRow& row) const {
  if (!row.is_chat()) return row.text;
  if (auto text = render(row.messages_json, row.tools_json)) return std::move(*text);
  if (auto text = row.tools_json.empty() ? std::nullopt : render(row.messages_json, {})) {
    return std::move(*text);
  }
  return plain(Json::parse(row.messages_json), false);
}

std::vector<std::int32_t> CalibrationText::encode(const RenderedRow& row) const {
  const bool is_templated =
      row.form == CalibrationForm::templated || row.form == CalibrationForm::simplified;
  return tokenizer_.encode(row.text, !is_templated);
}

}  // namespace quiver
