// Codes as one little-endian bit stream: code k lies in bits [k * bits, (k + 1) * bits).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace quiver::affine {

/// 32 codes of any width fill whole 32-bit words, and every group size is a multiple of 32.
constexpr std::size_t kChunk = 32;

template <int kBits>
using Words = std::array<std::uint32_t, kBits>;

/// Packs kChunk codes, each below 2^kBits. [any-thread]
template <int kBits>
constexpr Words<kBits> pack(const std::array<std::uint32_t, kChunk>& codes) {
  Words<kBits> words{};
  for (std::size_t k = 0; k < kChunk; ++k) {
    const std::size_t bit = k * kBits;
    const std::size_t word = bit / 32;
    const std::size_t shift = bit % 32;
    words[word] |= codes[k] << shift;
    if (shift + kBits > 32) words[word + 1] |= codes[k] >> (32 - shift);
  }
  return words;
}

/// Undoes pack(). [any-thread]
template <int kBits>
constexpr std::array<std::uint32_t, kChunk> unpack(const Words<kBits>& words) {
  constexpr std::uint32_t kMask = (1U << kBits) - 1;
  std::array<std::uint32_t, kChunk> codes{};
  for (std::size_t k = 0; k < kChunk; ++k) {
    const std::size_t bit = k * kBits;
    const std::size_t word = bit / 32;
    const std::size_t shift = bit % 32;
    std::uint32_t code = words[word] >> shift;
    if (shift + kBits > 32) code |= words[word + 1] << (32 - shift);
    codes[k] = code & kMask;
  }
  return codes;
}

}  // namespace quiver::affine
