// Escaping of names from files.
#include "core/tensor/printable.hpp"

#include <cstdint>

#include "core/tensor/utf8.hpp"

namespace quiver {

namespace {

bool is_control(char c) {
  return static_cast<std::uint8_t>(c) < 0x20 || c == 0x7F;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const bool is_plain = length > 0 && !is_control(text[0]);
    if (out.size() + (is_plain ? length : 4) > limit) return out + "...";
    if (is_plain) {
      out += text.substr(0, length);
      text.remove_prefix(length);
    } else {
      const auto byte = static_cast<std::uint8_t>(text[0]);
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      text.remove_prefix(1);
    }
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  return "'" + printable(text) + "'";
}

}  // namespace quiver
