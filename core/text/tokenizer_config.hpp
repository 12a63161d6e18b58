// tokenizer_config.json: which tokens have a role, and the chat templates.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/text/export.hpp"

namespace quiver::text {

/// What a tokenizer_config.json says. Plain data.
struct TokenizerConfig {
  /// Tokens by the name of their role as the file spells it: "bos_token", "eos_token", "pad_token",
  /// "unk_token", ... Roles that the file sets to null are absent.
  std::map<std::string, std::string> special_tokens;

  /// Chat templates by name; a single one is called "default". Sources as the file has them.
  std::map<std::string, std::string> chat_templates;

  /// "add_bos_token" and "add_eos_token" where the file has them. tokenizer.json's own rules
  /// already follow them; they matter to importers.
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;

  /// The token of a role ("eos_token"), nullopt when the file names none.
  std::optional<std::string> special(std::string_view role) const {
    const auto found = special_tokens.find(std::string(role));
    if (found == special_tokens.end()) return std::nullopt;
    return found->second;
  }
};

/// Reads the text of a tokenizer_config.json; empty text gives an empty config. `where` names the
/// file in errors. Throws bad_input when it is no JSON object or a value has the wrong type.
/// [any-thread]
QUIVER_TEXT_API TokenizerConfig parse_tokenizer_config(std::string_view json,
                                                       const std::string& where);

}  // namespace quiver::text
