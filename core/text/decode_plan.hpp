// How ids become text, token by token: the decoder of a tokenizer.json as data.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::text {

/// A rule on the spelling of a single token.
struct TokenRule {
  enum class Kind {
    replace,    ///< Every `pattern` becomes `content`.
    metaspace,  ///< As replace, but in the first token `pattern` vanishes (`is_prefix`).
    strip       ///< Up to `count` times `pattern` at the start vanishes.
  };
  Kind kind = Kind::replace;
  std::string pattern;
  std::string content;
  std::size_t count = 0;
  bool is_prefix = false;
};

/// What the tokens' text goes through after the rules.
enum class TextForm {
  text,           ///< Taken as it is.
  byte_level,     ///< Every character stands for a byte.
  byte_fallback,  ///< Tokens such as <0x0A> stand for a byte; others are text.
  joined,         ///< There is no decoder: tokens with a space between them.
  whole           ///< A decoder that looks at all tokens: text exists only at the end.
};

/// The decoder, brought into the order: rules on each token, then the form, then a strip of the
/// whole text's start.
struct DecodePlan {
  std::vector<TokenRule> rules;
  TextForm form = TextForm::text;
  std::string strip_content;  ///< Vanishes up to `strip_count` times at the start of the text.
  std::size_t strip_count = 0;

  /// Reads the `decoder` part of a tokenizer.json ("null" for none). Decoders that this cannot
  /// express token by token get the form `whole`. Throws bad_input when it is not JSON.
  /// [any-thread]
  static DecodePlan parse(std::string_view decoder_json);

  /// The spelling of a token after the rules. [any-thread]
  std::string apply_rules(std::string token, bool is_first) const;

  /// The bytes that a token stands for inside a text, whatever its neighbours. [any-thread]
  std::string piece(std::string_view token) const;
};

/// The byte of a token such as <0x0A>, nullopt for others. [any-thread]
std::optional<char> fallback_byte(std::string_view token) noexcept;

/// The bytes of a token in the byte-level alphabet; a token with a character outside of it stands
/// for itself. [any-thread]
std::string byte_level_bytes(std::string_view token);

}  // namespace quiver::text
