// How a page of floating point numbers is laid out, and the loops over it.
//
//   keys    [kv_heads][64 / 16 blocks][head_dim][16 tokens]
//   values  [kv_heads][64 tokens][head_dim, filled up to a multiple of 16]
#pragma once

#include "kv-common/pages.hpp"

#include <quiver/kv_strategy.hpp>

#include <cstddef>
#include <cstdint>

namespace quiver::kv_float {

enum class Element : std::uint32_t { f32, f16, bf16 };

// Files built for different instruction sets include this, and must not share functions.
namespace {

/// Bytes of one stored number. [any-thread]
constexpr std::size_t element_bytes(Element element) {
  return element == Element::f32 ? 4 : 2;
}

/// Numbers of one stored value. [any-thread]
constexpr std::size_t row_numbers(const KvShape& shape) {
  return (static_cast<std::size_t>(shape.head_dim) + 15) / 16 * 16;
}

/// Bytes of one head's keys and of its values. [any-thread]
constexpr std::size_t key_bytes(Element element, const KvShape& shape) {
  return KvStrategy::kTokens * static_cast<std::size_t>(shape.head_dim) * element_bytes(element);
}
constexpr std::size_t value_bytes(Element element, const KvShape& shape) {
  return KvStrategy::kTokens * row_numbers(shape) * element_bytes(element);
}

}  // namespace

/// The loops of one instruction set. Pages are the same in all of them. [any-thread]
struct Kernels {
  /// See KvStrategy; keys and values have kv_heads * head_dim elements.
  void (*write)(Element element, const KvShape& shape, std::byte* page, int slot, const float* keys,
                const float* values);
  /// A score is the sum of query[d] * key[d] by ascending d in float32, one multiply-add after the
  /// other; it depends on nothing else.
  void (*scores)(Element element, const kv::ScoresCall& call);
  /// Each output element grows by weight * value, one multiply-add a slot.
  void (*accumulate)(Element element, const kv::AccumulateCall& call);
};

extern const Kernels generic_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

}  // namespace quiver::kv_float
