// Reading mixes of calibration text.
#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include "core/model/json_file.hpp"
#include "core/quantize/calibration.hpp"
#include "core/quantize/calibration_mix.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/utf8.hpp"
#include "core/text/json_text.hpp"

namespace quiver {
namespace {

using Json = nlohmann::ordered_json;  // templates print tools in the order of the file

constexpr std::size_t kLargestFile = std::size_t{256} << 20U;
constexpr std::size_t kLargestRow = std::size_t{8} << 20U;
constexpr const char* kForms =
    R"(write {"domain", "text"} or {"domain", "messages"}, one JSON object a line)";

Error bad_row(const std::string& what, const std::string& where) {
  return Error(ErrorCode::bad_input, what, where, kForms);
}

std::string checked_messages(const Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty()) {
    throw bad_row("\"messages\" is not a list of messages", where);
  }
  for (const Json& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message.at("role").is_string()) {
      throw bad_row("a message has no \"role\"", where);
    }
    const auto content = message.find("content");
    if (content == message.end() && !message.contains("tool_calls")) {
      throw bad_row("a message has neither \"content\" nor \"tool_calls\"", where);
    }
  }
  return messages.dump();
}

CalibrationRow read_row(const Json& json, const std::string& where) {
  if (!json.is_object()) throw bad_row("the row is not a JSON object", where);
  const auto present = [&](const char* key) {
    return json.contains(key) && !json.at(key).is_null();
  };
  CalibrationRow row;
  row.where = where;
  const bool has_messages = present("messages");
  if (present("text") == has_messages) {
    throw bad_row(has_messages ? "the row has both \"text\" and \"messages\""
                               : "the row has neither \"text\" nor \"messages\"",
                  where);
  }
  row.domain = has_messages ? "chat" : "text";
  if (present("domain")) {
    if (!json.at("domain").is_string()) throw bad_row("\"domain\" is not a text", where);
    row.domain = json.at("domain").get<std::string>();
  }
  if (has_messages) {
    row.messages_json = checked_messages(json.at("messages"), where);
  } else {
    if (!json.at("text").is_string()) throw bad_row("\"text\" is not a text", where);
    row.text = json.at("text").get<std::string>();
  }
  if (present("tools")) {
    if (!json.at("tools").is_array()) throw bad_row("\"tools\" is not a list", where);
    if (!has_messages) throw bad_row("\"tools\" belong to \"messages\"", where);
    if (!json.at("tools").empty()) row.tools_json = json.at("tools").dump();
  }
  return row;
}

Json parse_row(std::string_view line, const std::string& where) {
  if (line.size() > kLargestRow) throw bad_row("the row is larger than 8 MiB", where);
  if (!is_utf8(line)) throw bad_row("the row is not UTF-8", where);
  try {
    return text::parse_json<Json>(line, where);
  } catch (const Error& error) {
    throw bad_row(error.message(), where);
  }
}

}  // namespace

std::vector<CalibrationRow> parse_calibration_rows(std::string_view jsonl,
                                                   const std::string& origin) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (jsonl.starts_with(kByteOrderMark)) jsonl.remove_prefix(kByteOrderMark.size());
  std::vector<CalibrationRow> rows;
  for (std::size_t line = 1; !jsonl.empty(); ++line) {
    const std::size_t end = std::min(jsonl.find('\n'), jsonl.size());
    const std::string_view row = jsonl.substr(0, end);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = origin + ":" + std::to_string(line);
    rows.push_back(read_row(parse_row(row, where), where));
  }
  if (rows.empty()) throw bad_row("the calibration text has no rows", origin);
  return rows;
}

std::vector<CalibrationRow> read_calibration_rows(const std::filesystem::path& path) {
  return parse_calibration_rows(read_small_file(path, kLargestFile), path.string());
}

std::vector<CalibrationRow> builtin_calibration_rows() {
  return parse_calibration_rows(calibration_mix(), "the built-in calibration text");
}

}  // namespace quiver
