// How a page of turned vectors is laid out, and the loops over it.
//
// A head's vector x of d numbers becomes its length |x|, a float16, and d codes: R x / |x| has
// numbers that are nearly Gaussian with variance 1/d, whatever x was, so that one codebook serves
// all. A code is the sign, then the magnitude's index in the codebook.
//
//   keys    [kv_heads][64 / 16 blocks][head_dim] units of 16 tokens; after them lengths [64]
//   values  [kv_heads][64 tokens][head_dim / 16, rounded up] units; after them lengths [64]
//
// Source: Zandieh et al., TurboQuant, arXiv 2504.19874; without its correction by signs of the
// residual, which costs a bit that a larger codebook uses better here.
#pragma once

#include "kv-common/pages.hpp"

#include <cstddef>

namespace quiver::kv_turboquant {

/// What users choose.
struct Format {
  int key_bits;
  int value_bits;
};

/// An orthogonal map of vectors of odd * power numbers, seen as [odd, power]: signs, a Hadamard
/// transform of each row, then a mix of the rows.
struct Turn {
  std::size_t odd;
  std::size_t power;         ///< A power of two.
  const float* signs;        ///< [odd * power]
  const float* mix;          ///< [odd, odd], orthogonal
  const float* mix_inverse;  ///< its transpose
};

/// What the loops hold on the stack is sized for these.
constexpr std::size_t kMostDims = 4096;
constexpr std::size_t kMostOdd = 512;

/// The loops of one instruction set. Pages are the same in all of them. [any-thread]
struct Kernels {
  /// See KvStrategy; keys and values have kv_heads * head_dim elements.
  void (*write)(const Format& format, const KvShape& shape, const Turn& key_turn,
                const Turn& value_turn, std::byte* page, int slot, const float* keys,
                const float* values);
  /// Sums by ascending dimension, one multiply-add after the other, then times the length.
  void (*scores)(const Format& format, const kv::ScoresCall& call);
  /// One multiply-add a slot, whose weight is multiplied by the length first.
  void (*accumulate)(const Format& format, const kv::AccumulateCall& call);
  /// Turns `count` vectors in place, and back.
  void (*turn)(const Turn& turn, float* vectors, int count);
  void (*turn_back)(const Turn& turn, float* vectors, int count);
};

extern const Kernels generic_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

// Files built for different instruction sets include this, and must not share functions.
namespace {

/// Sizes of one head's part of a page.
struct Layout {
  std::size_t dims;
  std::size_t key_bytes;    ///< Codes of all keys, filled up to 64 bytes.
  std::size_t value_row;    ///< Bytes of one token's value.
  std::size_t value_bytes;  ///< Codes of all values.

  /// Each half ends with the lengths.
  constexpr std::size_t head_bytes() const {
    return key_bytes + value_bytes + 2 * 2 * KvStrategy::kTokens;
  }
};

constexpr Layout layout_of(const Format& format, const KvShape& shape) {
  constexpr std::size_t kTokens = KvStrategy::kTokens;
  const auto dims = static_cast<std::size_t>(shape.head_dim);
  Layout layout{};
  layout.dims = dims;
  layout.key_bytes =
      (kTokens / 16 * dims * 2 * static_cast<std::size_t>(format.key_bits) + 63) / 64 * 64;
  layout.value_row = (dims + 15) / 16 * 2 * static_cast<std::size_t>(format.value_bits);
  layout.value_bytes = layout.value_row * kTokens;
  return layout;
}

}  // namespace
}  // namespace quiver::kv_turboquant
