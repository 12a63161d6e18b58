// Well-formedness by the table of the Unicode standard (3-7), byte by byte.
#include "core/text/utf8.hpp"

#include <cstddef>
#include <cstdint>

namespace quiver::text {
namespace {

/// How the bytes at the start of a text look.
struct Prefix {
  std::size_t size = 0;   ///< Bytes of the code point, of the ill-formed part, or of the rest.
  bool is_valid = false;  ///< A whole code point.
  bool is_cut = false;    ///< More bytes could make it one.
};

/// Code points of two to four bytes: how many, and what the second byte may be.
struct Lead {
  int size = 0;  ///< 0: no lead byte.
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xBF;
};

Lead lead_of(std::uint8_t byte) noexcept {
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};  // Surrogates are not characters.
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // Nothing beyond U+10FFFF.
  return {};
}

Prefix first_of(std::string_view bytes) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  if (at(0) < 0x80) return {1, true, false};
  const Lead lead = lead_of(at(0));
  if (lead.size == 0) return {1, false, false};
  const auto size = static_cast<std::size_t>(lead.size);
  for (std::size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {i, false, true};
    const std::uint8_t low = i == 1 ? lead.low : 0x80;
    const std::uint8_t high = i == 1 ? lead.high : 0xBF;
    if (at(i) < low || at(i) > high) return {i, false, false};
  }
  return {size, true, false};
}

/// Appends the well-formed form of `bytes` up to an unfinished code point, whose bytes it returns.
std::string_view repair(std::string_view bytes, std::string& out) {
  while (!bytes.empty()) {
    const Prefix prefix = first_of(bytes);
    if (prefix.is_cut) return bytes;
    out += prefix.is_valid ? bytes.substr(0, prefix.size) : kReplacement;
    bytes.remove_prefix(prefix.size);
  }
  return {};
}

}  // namespace

bool is_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const Prefix prefix = first_of(bytes);
    if (!prefix.is_valid) return false;
    bytes.remove_prefix(prefix.size);
  }
  return true;
}

std::string utf8_lossy(std::string_view bytes) {
  std::string out;
  if (!repair(bytes, out).empty()) out += kReplacement;
  return out;
}

void Utf8Stream::feed(std::string_view bytes, std::string& out) {
  if (pending_.empty()) {
    pending_ = repair(bytes, out);
    return;
  }
  const std::string joined = pending_ + std::string(bytes);
  pending_ = repair(joined, out);
}

void Utf8Stream::finish(std::string& out) {
  if (!pending_.empty()) out += kReplacement;
  pending_.clear();
}

}  // namespace quiver::text
