// The many spellings of tokenizer_config.json, brought into one form.
#include "core/text/tokenizer_config.hpp"

#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include "core/text/json_text.hpp"

namespace quiver::text {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::bad_input, what, where, "check the file or leave it out");
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// A token is written as itself or as an object with its content.
std::optional<std::string> token_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return std::nullopt;
}

void read_special_tokens(const json& config, const std::string& where, TokenizerConfig& out) {
  for (const auto& [key, value] : config.items()) {
    if (!ends_with(key, "_token") || value.is_null() || value.is_boolean()) continue;
    const auto token = token_of(value);
    if (!token) fail("\"" + key + "\" is neither a token nor null", where);
    out.special_tokens[key] = *token;
  }
  const auto extra = config.find("extra_special_tokens");
  if (extra == config.end() || !extra->is_object()) return;
  for (const auto& [key, value] : extra->items()) {
    if (const auto token = token_of(value)) out.special_tokens.emplace(key, *token);
  }
}

void read_chat_templates(const json& config, const std::string& where, TokenizerConfig& out) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return;
  if (found->is_string()) {
    out.chat_templates["default"] = found->get<std::string>();
    return;
  }
  if (!found->is_array()) fail("\"chat_template\" is neither a string nor a list", where);
  for (const json& entry : *found) {
    const bool is_named = entry.is_object() && entry.contains("name") &&
                          entry["name"].is_string() && entry.contains("template") &&
                          entry["template"].is_string();
    if (!is_named) fail("\"chat_template\" has an entry without name or template", where);
    out.chat_templates[entry["name"].get<std::string>()] = entry["template"].get<std::string>();
  }
}

std::optional<bool> flag(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_boolean()) return std::nullopt;
  return found->get<bool>();
}

}  // namespace

TokenizerConfig parse_tokenizer_config(std::string_view text, const std::string& where) {
  TokenizerConfig out;
  if (text.empty()) return out;
  const json config = parse_json<json>(text, where);
  if (!config.is_object()) fail("not a JSON object", where);
  read_special_tokens(config, where, out);
  read_chat_templates(config, where, out);
  out.add_bos_token = flag(config, "add_bos_token");
  out.add_eos_token = flag(config, "add_eos_token");
  return out;
}

}  // namespace quiver::text
