// Finds templates in a model folder and hands requests to the crate.
#include "core/text/chat_template.hpp"

#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "core/text/json_text.hpp"
#include "core/text/rust_call.hpp"
#include "core/text/text_file.hpp"

namespace quiver::text {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxConfigBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxTemplates = 64;

const char* const kTemplateHint = "ask with --prompt instead of --chat, or get another template";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// The .jinja files of a folder in the order of their names.
std::vector<fs::path> additional_templates(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".jinja") continue;
    if (paths.size() == kMaxTemplates) {
      throw Error(ErrorCode::bad_input, "too many chat templates", folder.string());
    }
    paths.push_back(entry->path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// chat_template.json of multimodal models: an object with the template in it.
std::string source_of_json(const fs::path& path) {
  const auto parsed =
      parse_json<nlohmann::json>(read_text_file(path, 2 * kMaxTemplateBytes), path.string());
  if (!parsed.is_object() || !parsed.contains("chat_template") ||
      !parsed["chat_template"].is_string()) {
    throw Error(ErrorCode::bad_input, "no \"chat_template\" in the file", path.string());
  }
  return parsed["chat_template"].get<std::string>();
}

}  // namespace

struct ChatTemplate::Compiled {
  struct Free {
    void operator()(qt_template* source) const noexcept { qt_template_free(source); }
  };
  std::unique_ptr<qt_template, Free> handle;
  std::string where;
};

std::optional<ChatTemplate> ChatTemplate::load_folder(const fs::path& folder) {
  TokenizerConfig config;
  const fs::path config_path = folder / "tokenizer_config.json";
  if (is_there(config_path)) {
    config =
        parse_tokenizer_config(read_text_file(config_path, kMaxConfigBytes), config_path.string());
  }
  const fs::path jinja = folder / "chat_template.jinja";
  const fs::path json = folder / "chat_template.json";
  ChatTemplate result;
  result.special_tokens_ = config.special_tokens;
  if (is_there(jinja)) {
    result.add("default", read_text_file(jinja, kMaxTemplateBytes), jinja.string());
    for (const fs::path& path : additional_templates(folder / "additional_chat_templates")) {
      result.add(path.stem().string(), read_text_file(path, kMaxTemplateBytes), path.string());
    }
    return result;
  }
  if (is_there(json)) {
    result.add("default", source_of_json(json), json.string());
    return result;
  }
  if (config.chat_templates.empty()) return std::nullopt;
  for (const auto& [name, source] : config.chat_templates) {
    result.add(name, source, config_path.string() + ": chat_template");
  }
  return result;
}

std::optional<ChatTemplate> ChatTemplate::from_config(const TokenizerConfig& config) {
  if (config.chat_templates.empty()) return std::nullopt;
  ChatTemplate result;
  result.special_tokens_ = config.special_tokens;
  for (const auto& [name, source] : config.chat_templates) {
    result.add(name, source, "chat template \"" + name + "\"");
  }
  return result;
}

ChatTemplate ChatTemplate::from_source(std::string_view source, const TokenizerConfig& config,
                                       const std::string& where) {
  ChatTemplate result;
  result.special_tokens_ = config.special_tokens;
  result.add("default", source, where);
  return result;
}

void ChatTemplate::add(const std::string& name, std::string_view source, const std::string& where) {
  if (templates_.size() == kMaxTemplates) {
    throw Error(ErrorCode::bad_input, "too many chat templates", where);
  }
  qt_template* handle = nullptr;
  qt_bytes error{};
  check(qt_template_compile(bytes_of(source), source.size(), &handle, &error), error,
        "cannot read the chat template", where, kTemplateHint);
  auto compiled = std::make_shared<Compiled>();
  compiled->handle.reset(handle);
  compiled->where = where;
  templates_[name] = std::move(compiled);
}

bool ChatTemplate::has(std::string_view name) const {
  return templates_.find(name) != templates_.end();
}

const ChatTemplate::Compiled& ChatTemplate::choose(const ChatRequest& request) const {
  std::string name = request.template_name;
  if (name.empty()) {
    name = !request.tools_json.empty() && has("tool_use") ? "tool_use" : "default";
  }
  const auto found = templates_.find(name);
  if (found != templates_.end()) return *found->second;
  std::string names;
  for (const auto& entry : templates_) names += (names.empty() ? "" : ", ") + entry.first;
  throw Error(ErrorCode::bad_input, "the model has no chat template \"" + name + "\"", {},
              "choose one of: " + names);
}

std::string ChatTemplate::render(const ChatRequest& request) const {
  const Compiled& compiled = choose(request);
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  for (const auto& [role, token] : special_tokens_) variables[role] = token;
  if (!request.variables_json.empty()) {
    const auto given =
        parse_json<nlohmann::ordered_json>(request.variables_json, "chat template variables");
    if (!given.is_object()) {
      throw Error(ErrorCode::bad_input, "the chat template variables are not a JSON object");
    }
    for (const auto& [name, value] : given.items()) variables[name] = value;
  }
  variables["add_generation_prompt"] = request.add_generation_prompt;

  // Tokens of a damaged config may hold anything, hence `replace` instead of an exception.
  const std::string text =
      variables.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  const std::int64_t* now = request.now_seconds ? &*request.now_seconds : nullptr;
  qt_bytes rendered{};
  qt_bytes error{};
  check(qt_template_render(compiled.handle.get(), view_of(request.messages_json),
                           view_of(request.tools_json), view_of(text), now, &rendered, &error),
        error, {}, compiled.where);
  return take(rendered);
}

}  // namespace quiver::text
