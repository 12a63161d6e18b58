// Messages to prompt text, by the Jinja template that a model brings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/text/export.hpp"
#include "core/text/tokenizer_config.hpp"

namespace quiver::text {

/// What a chat is rendered from. The texts are JSON.
struct ChatRequest {
  /// An array of messages, as in the chat completions protocol: {"role", "content", ...}. Arguments
  /// of tool calls should be objects, not strings: most templates ask for that.
  std::string messages_json;

  /// An array of tools; empty for none.
  std::string tools_json;

  /// An object with further variables, such as {"enable_thinking": false}; empty for none. They win
  /// over the tokenizer's special tokens of the same name.
  std::string variables_json;

  /// Whether the text ends where the model's answer begins.
  bool add_generation_prompt = true;

  /// Which of several templates; empty for "tool_use" where there are tools and such a template,
  /// else "default".
  std::string template_name;

  /// The time that templates print, in seconds since 1970; nullopt for the clock.
  std::optional<std::int64_t> now_seconds;
};

/// The chat templates of a model. Jinja as the reference implementation sets it up: trim_blocks and
/// lstrip_blocks, loop controls, namespace, Python's string and dict methods, raise_exception,
/// strftime_now, and a tojson that writes as json.dumps does.
///
/// Templates are treated as hostile: they see nothing but the request, and rendering ends within
/// limits on steps, time and memory. Copies share the compiled templates; const functions are
/// [any-thread].
class QUIVER_TEXT_API ChatTemplate {
 public:
  /// Looks in a model folder for chat_template.jinja (further ones lie in
  /// additional_chat_templates/), then chat_template.json, then the `chat_template` of
  /// tokenizer_config.json. nullopt when it has none. Throws bad_input when the template does not
  /// parse.
  static std::optional<ChatTemplate> load_folder(const std::filesystem::path& folder);

  /// The templates of a tokenizer_config.json; nullopt when it has none.
  static std::optional<ChatTemplate> from_config(const TokenizerConfig& config);

  /// A single template. `config` supplies the special tokens that it may name, such as bos_token.
  /// `where` names it in errors.
  static ChatTemplate from_source(std::string_view source, const TokenizerConfig& config = {},
                                  const std::string& where = "chat template");

  /// The text of a chat. Throws bad_input when the request is not what the template wants (with the
  /// template's own words if it raises an exception), when there is no template of that name, and
  /// when a limit is reached.
  std::string render(const ChatRequest& request) const;

  /// True when there is a template of this name ("default", "tool_use", "rag").
  bool has(std::string_view name) const;

 private:
  struct Compiled;
  ChatTemplate() = default;
  void add(const std::string& name, std::string_view source, const std::string& where);
  const Compiled& choose(const ChatRequest& request) const;

  std::map<std::string, std::shared_ptr<const Compiled>, std::less<>> templates_;
  std::map<std::string, std::string> special_tokens_;
};

}  // namespace quiver::text
