// What strategies have in common around their loops: calls as structs, and checks of shapes.
#pragma once

#include <quiver/error.hpp>
#include <quiver/kv_strategy.hpp>

#include <cstddef>
#include <limits>
#include <string_view>

namespace quiver::kv {

/// KvStrategy::Slots for loops that are built several times, which must not share functions.
struct Slots {
  KvShape shape;
  const std::byte* const* pages;
  int stride;
  int kv_head;
  int first;
  int last;
};

/// The parameters of KvStrategy::scores and accumulate.
struct ScoresCall {
  Slots slots;
  const float* queries;
  int query_count;
  float* scores;
};
struct AccumulateCall {
  Slots slots;
  const float* weights;
  int query_count;
  float* output;
  const std::byte* next;
};

/// What loops get to read; not for them to call. [any-thread]
inline Slots slots_of(const KvShape& shape, const KvStrategy::Slots& slots) {
  return {shape, slots.pages.data(), slots.stride(), slots.kv_head, slots.first, slots.last};
}

/// Throws Error(bad_input) for a shape that no model has. [any-thread]
inline void check_shape(const KvShape& shape) {
  if (shape.kv_heads > 0 && shape.head_dim > 0) return;
  throw Error(ErrorCode::bad_input, "a cache needs at least one head and one dimension",
              "kv strategy", "correct the model's config");
}

/// Bytes of a page whose heads take `head_bytes` each. Throws Error(bad_input) where that is more
/// than can be addressed. [any-thread]
inline std::size_t page_bytes(const KvShape& shape, std::size_t head_bytes) {
  const auto heads = static_cast<std::size_t>(shape.kv_heads);
  if (heads > std::numeric_limits<std::size_t>::max() / 2 / head_bytes) {
    throw Error(ErrorCode::bad_input, "a page of the cache exceeds any memory", "kv strategy",
                "correct the heads and their dimension in the model's config");
  }
  return heads * head_bytes;
}

/// Throws Error(internal) where a token does not fit its page. [any-thread]
inline void check_token(const KvShape& shape, int slot, std::size_t keys, std::size_t values) {
  const std::size_t size =
      static_cast<std::size_t>(shape.kv_heads) * static_cast<std::size_t>(shape.head_dim);
  if (slot < 0 || slot >= KvStrategy::kTokens || keys != size || values != size) {
    throw Error(ErrorCode::internal, "a token does not fit its page", "kv strategy");
  }
}

}  // namespace quiver::kv
