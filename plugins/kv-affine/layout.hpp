// How a page of affine codes is laid out.
//
// A number x is stored as code q with x ~ scale * q + bias; a group of a token's numbers shares
// scale and bias, which are float16: 11 significant bits put the ends of a group's range within a
// sixteenth of a step even at 8 bits, where bfloat16's 8 would miss by most of one.
//
//   keys    [kv_heads][64 / 16 blocks][words][16 tokens] of 32 bits: a word has 4 or 8 codes of one
//           token, in an order in which 16-bit halves with all but every other (or fourth) code
//           masked away hold neighbouring codes; after them scale and bias
//           [64 / 16 blocks][groups][2][16 tokens]
//   values  the same with tokens and dimensions exchanged: [kv_heads][head_dim / 16 blocks][words]
//           [16 dimensions], a word having one dimension of 4 or 8 tokens; after them scale and
//           bias [groups][2][64 tokens]
#pragma once

#include <quiver/kv_strategy.hpp>

#include <cstddef>
#include <cstdint>

namespace quiver::kv_affine {

/// What users choose.
struct Format {
  int key_bits;
  int value_bits;
  int group;
};

// Files built for different instruction sets include this, and must not share functions.
namespace {

/// Numbers of one piece of a group that is multiplied in integers: 128 products of 8-bit codes and
/// 16-bit numbers stay below 2^31. Groups longer than this are cut; a page has half as many tokens.
constexpr std::size_t kPiece = 128;

/// Sizes of one head's part of a page.
struct Layout {
  std::size_t dims;
  std::size_t group;  ///< Numbers that share a scale; dims is a multiple of it.
  std::size_t groups;
  std::size_t key_words;        ///< 32-bit words of one token's key.
  std::size_t key_bytes;        ///< Codes of all keys.
  std::size_t value_bytes;      ///< Codes of all values.
  std::size_t parameter_bytes;  ///< Scales and biases of all keys, or of all values.

  constexpr std::size_t head_bytes() const { return key_bytes + value_bytes + 2 * parameter_bytes; }
};

/// The asked group where it divides the head, else the smaller one, else the whole head. Groups
/// that are asked for are powers of two: pages are read too often to divide.
constexpr std::size_t group_of(std::size_t dims, std::size_t asked) {
  if ((dims & (asked - 1)) == 0) return asked;
  return asked > 32 && (dims & 31U) == 0 ? 32 : dims;
}

constexpr Layout layout_of(const Format& format, const KvShape& shape) {
  constexpr std::size_t kTokens = KvStrategy::kTokens;
  Layout layout{};
  layout.dims = static_cast<std::size_t>(shape.head_dim);
  layout.group = group_of(layout.dims, static_cast<std::size_t>(format.group));
  layout.groups = layout.group == layout.dims ? 1 : layout.dims >> __builtin_ctzll(layout.group);
  const std::size_t codes_of_word = format.key_bits == 8 ? 4 : 8;
  layout.key_words = (layout.dims + codes_of_word - 1) >> (codes_of_word == 4 ? 2 : 3);
  layout.key_bytes = layout.key_words * 4 * kTokens;
  layout.value_bytes =
      (layout.dims + 15) / 16 * 2 * static_cast<std::size_t>(format.value_bits) * kTokens;
  layout.parameter_bytes = layout.groups * 2 * 2 * kTokens;
  return layout;
}

}  // namespace
}  // namespace quiver::kv_affine
