// How a page is laid out, and the loops over it.
//
//   keys    [kv_heads][64 / 16 blocks][head_dim][16 tokens]
//   values  [kv_heads][64 tokens][head_dim]
//
// Scores of 16 tokens grow side by side, one multiply and add a dimension, so neither a horizontal
// sum nor a dimension that fills no register exists. Values are added token by token.
#pragma once

#include <quiver/kv_strategy.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace quiver::kv_float {

enum class Element : std::uint32_t { f32, f16, bf16 };

/// Bytes of one stored number. [any-thread]
constexpr std::size_t element_bytes(Element element) {
  return element == Element::f32 ? 4 : 2;
}

/// The parameters of KvStrategy::scores and accumulate.
struct ScoresCall {
  const std::byte* page;
  KvShape shape;
  int kv_head;
  int first;
  int last;
  const float* queries;
  int query_count;
  float* scores;
};
struct AccumulateCall {
  const std::byte* page;
  KvShape shape;
  int kv_head;
  int first;
  int last;
  const float* weights;
  int query_count;
  float* output;
};

/// See KvStrategy. keys and values have kv_heads * head_dim elements. [any-thread]
void write(Element element, const KvShape& shape, std::byte* page, int slot,
           std::span<const float> keys, std::span<const float> values);

/// A score is the sum of query[d] * key[d] by ascending d, each product and sum rounded to float32;
/// it depends on nothing else. [any-thread]
void scores(Element element, const ScoresCall& call);

/// Each output element grows by weight * value, slot after slot, product and sum rounded to
/// float32. [any-thread]
void accumulate(Element element, const AccumulateCall& call);

}  // namespace quiver::kv_float
