// Names of kinds, and what texts of plugins may hold.
#include "core/plugin/plugin_descriptor.hpp"

#include <quiver/entry.h>
#include <quiver/architecture.hpp>
#include <quiver/canvas_sampler.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/quant_scheme.hpp>
#include <quiver/sampler.hpp>

#include <algorithm>
#include <cstddef>

namespace quiver {
namespace {

struct KindTexts {
  OfferKind kind;
  std::string_view name;
  std::string_view noun;
  std::string_view interface_id;
};

constexpr KindTexts kKinds[] = {
    {OfferKind::architecture, "architecture", "architecture", Architecture::kInterfaceId},
    {OfferKind::sampler, "sampler", "sampler", SamplerFactory::kInterfaceId},
    {OfferKind::canvas_sampler, "canvas-sampler", "canvas sampler",
     CanvasSamplerFactory::kInterfaceId},
    {OfferKind::quant_scheme, "quant", "quantization scheme", QuantScheme::kInterfaceId},
    {OfferKind::kv_strategy, "kv", "KV strategy", KvStrategyFactory::kInterfaceId},
};

static_assert(static_cast<int>(OfferKind::architecture) == QUIVER_KIND_ARCHITECTURE);
static_assert(static_cast<int>(OfferKind::sampler) == QUIVER_KIND_SAMPLER);
static_assert(static_cast<int>(OfferKind::canvas_sampler) == QUIVER_KIND_CANVAS_SAMPLER);
static_assert(static_cast<int>(OfferKind::quant_scheme) == QUIVER_KIND_QUANT_SCHEME);
static_assert(static_cast<int>(OfferKind::kv_strategy) == QUIVER_KIND_KV_STRATEGY);

const KindTexts* find_kind(OfferKind kind) noexcept {
  const auto* const found =
      std::find_if(std::begin(kKinds), std::end(kKinds),
                   [&](const KindTexts& texts) { return texts.kind == kind; });
  return found == std::end(kKinds) ? nullptr : found;
}

/// Length of the well-formed UTF-8 sequence at the front of `text` and its code point; 0 where
/// there is none. The limits per lead byte are those of table 3-7 of the Unicode standard.
std::size_t decode_utf8(std::string_view text, char32_t& code_point) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    code_point = lead;
    return 1;
  }
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0 || text.size() < length) return 0;
  code_point = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return 0;
    code_point = (code_point << 6U) | (byte(i) & 0x3FU);
  }
  const bool is_overlong = (length == 3 && code_point < 0x800) ||
                           (length == 4 && (code_point < 0x10000 || code_point > 0x10FFFF));
  const bool is_surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  return is_overlong || is_surrogate ? 0 : length;
}

/// Characters that would let a text of a plugin move the cursor, end the line, or show other text
/// around it in another order.
constexpr bool is_control(char32_t c) noexcept {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 ||
         (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E ||
         c == 0x200F || c == 0xFEFF;
}

constexpr bool is_lower_or_digit(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string_view kind_name(OfferKind kind) noexcept {
  const KindTexts* texts = find_kind(kind);
  return texts != nullptr ? texts->name : "unknown";
}

std::string_view kind_noun(OfferKind kind) noexcept {
  const KindTexts* texts = find_kind(kind);
  return texts != nullptr ? texts->noun : "unknown kind";
}

std::optional<OfferKind> parse_kind(std::string_view name) noexcept {
  for (const KindTexts& texts : kKinds) {
    if (texts.name == name) return texts.kind;
  }
  return std::nullopt;
}

std::string_view interface_id(OfferKind kind) noexcept {
  const KindTexts* texts = find_kind(kind);
  return texts != nullptr ? texts->interface_id : std::string_view();
}

bool is_printable_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    char32_t code_point = 0;
    const std::size_t length = decode_utf8(text, code_point);
    if (length == 0 || is_control(code_point)) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string one_line(std::string_view text, std::size_t limit_bytes) {
  std::string line;
  while (!text.empty()) {
    char32_t code_point = 0;
    const std::size_t length = decode_utf8(text, code_point);
    const bool is_blank = length == 0 || code_point == ' ' || is_control(code_point);
    const std::string_view next = is_blank ? " " : text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(length, 1));
    if (is_blank && (line.empty() || line.back() == ' ')) continue;
    if (line.size() + next.size() > limit_bytes) break;
    line += next;
  }
  if (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

bool is_plugin_name(std::string_view text) noexcept {
  constexpr std::size_t kFieldSize = sizeof(quiver_offer::name);
  static_assert(kFieldSize == sizeof(quiver_descriptor::name));
  return !text.empty() && text.size() < kFieldSize && is_lower_or_digit(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_lower_or_digit(c) || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace quiver
