// Reads decoders and applies their rules to single tokens.
#include "core/text/decode_plan.hpp"

#include <array>
#include <cstdint>

#include <nlohmann/json.hpp>

#include "core/text/json_text.hpp"

namespace quiver::text {
namespace {

using nlohmann::json;

std::string string_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::size_t count_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::size_t>() : 0;
}

/// The steps of a decoder in order; a decoder that is no sequence is one step.
void flatten(const json& decoder, std::vector<const json*>& steps) {
  const auto nested = decoder.find("decoders");
  if (nested == decoder.end() || !nested->is_array()) {
    steps.push_back(&decoder);
    return;
  }
  for (const json& step : *nested) flatten(step, steps);
}

std::optional<TokenRule> rule_of(const json& step) {
  const std::string type = string_at(step, "type");
  TokenRule rule;
  if (type == "Replace") {
    const auto pattern = step.find("pattern");
    if (pattern != step.end() && pattern->is_object()) {
      rule.pattern = string_at(*pattern, "String");
    }
    rule.content = string_at(step, "content");
  } else if (type == "Metaspace") {
    rule.kind = TokenRule::Kind::metaspace;
    rule.pattern = string_at(step, "replacement");
    rule.content = " ";
    rule.is_prefix = string_at(step, "prepend_scheme") != "never";
  } else if (type == "Strip" && count_at(step, "stop") == 0) {
    rule.kind = TokenRule::Kind::strip;
    rule.pattern = string_at(step, "content");
    rule.count = count_at(step, "start");
  }
  // An empty pattern also stands for a regular expression.
  if (rule.pattern.empty()) return std::nullopt;
  return rule;
}

/// Takes one step into the plan; false when the plan cannot express it in this place.
bool add_step(const json& step, DecodePlan& plan, bool& is_fused) {
  const std::string type = string_at(step, "type");
  if (type == "Fuse") {
    is_fused = true;
    return true;
  }
  if (!is_fused && plan.form == TextForm::text) {
    if (type == "ByteFallback") {
      plan.form = TextForm::byte_fallback;
      return true;
    }
    if (type == "ByteLevel") {
      plan.form = TextForm::byte_level;
      is_fused = true;
      return true;
    }
    const auto rule = rule_of(step);
    if (rule) plan.rules.push_back(*rule);
    return rule.has_value();
  }
  const auto rule = is_fused && plan.strip_count == 0 ? rule_of(step) : std::nullopt;
  if (!rule || rule->kind != TokenRule::Kind::strip) return false;
  plan.strip_content = rule->pattern;
  plan.strip_count = rule->count;
  return true;
}

void replace_all(std::string& text, std::string_view pattern, std::string_view content) {
  for (std::size_t at = text.find(pattern); at != std::string::npos;
       at = text.find(pattern, at + content.size())) {
    text.replace(at, pattern.size(), content);
  }
}

/// The byte behind each character of the byte-level alphabet (U+0021 to U+0143), -1 for others.
/// Printable Latin-1 characters stand for themselves; the other bytes follow from U+0100 on.
std::array<std::int16_t, 0x144> byte_alphabet() {
  std::array<std::int16_t, 0x144> bytes;
  bytes.fill(-1);
  std::size_t next = 0x100;
  for (std::int16_t byte = 0; byte < 256; ++byte) {
    const bool is_itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                           (byte >= 0xAE && byte <= 0xFF);
    bytes[is_itself ? static_cast<std::size_t>(byte) : next++] = byte;
  }
  return bytes;
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

DecodePlan DecodePlan::parse(std::string_view decoder_json) {
  const json decoder = parse_json<json>(decoder_json, "tokenizer.json: decoder");
  DecodePlan plan;
  if (decoder.is_null()) {
    plan.form = TextForm::joined;
    return plan;
  }
  std::vector<const json*> steps;
  flatten(decoder, steps);
  bool is_fused = false;
  for (const json* step : steps) {
    if (!add_step(*step, plan, is_fused)) {
      plan = DecodePlan();
      plan.form = TextForm::whole;
      return plan;
    }
  }
  return plan;
}

std::string DecodePlan::apply_rules(std::string token, bool is_first) const {
  for (const TokenRule& rule : rules) {
    switch (rule.kind) {
      case TokenRule::Kind::replace: replace_all(token, rule.pattern, rule.content); break;
      case TokenRule::Kind::metaspace:
        replace_all(token, rule.pattern,
                    is_first && rule.is_prefix ? std::string_view() : rule.content);
        break;
      case TokenRule::Kind::strip:
        for (std::size_t i = 0; i < rule.count && token.starts_with(rule.pattern); ++i) {
          token.erase(0, rule.pattern.size());
        }
        break;
    }
  }
  return token;
}

std::string DecodePlan::piece(std::string_view token) const {
  std::string text = apply_rules(std::string(token), false);
  if (form == TextForm::byte_level) return byte_level_bytes(text);
  if (form == TextForm::byte_fallback) {
    if (const auto byte = fallback_byte(text)) return std::string(1, *byte);
  }
  return text;
}

std::optional<char> fallback_byte(std::string_view token) noexcept {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  // The reference reads "+5" as a number too.
  const int high = token[3] == '+' ? 0 : hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

std::string byte_level_bytes(std::string_view token) {
  static const auto alphabet = byte_alphabet();
  std::string bytes;
  for (std::size_t i = 0; i < token.size(); ++i) {
    auto character = static_cast<std::size_t>(static_cast<unsigned char>(token[i]));
    if (character >= 0x80) {
      // The alphabet has characters of at most two bytes; tokens are well-formed UTF-8.
      if (character < 0xC2 || character > 0xDF || i + 1 == token.size()) return std::string(token);
      character = (character & 0x1F) << 6 | (static_cast<unsigned char>(token[++i]) & 0x3F);
    }
    if (character >= alphabet.size() || alphabet[character] < 0) return std::string(token);
    bytes += static_cast<char>(alphabet[character]);
  }
  return bytes;
}

}  // namespace quiver::text
