// Moves a page of keys and values from one strategy to another.
#include "core/cache/repack.hpp"

#include <algorithm>
#include <array>

namespace quiver {
namespace {

constexpr std::size_t kTokens = KvStrategy::kTokens;

constexpr std::array<float, kTokens> filled_with_ones() {
  std::array<float, kTokens> ones{};
  ones.fill(1);
  return ones;
}

}  // namespace

void repack(const KvShape& shape, const PageOf<const std::byte>& from, const PageOf<std::byte>& to,
            std::vector<float>& scratch) {
  const auto heads = static_cast<std::size_t>(shape.kv_heads);
  const auto dims = static_cast<std::size_t>(shape.head_dim);
  const std::size_t width = heads * dims;
  scratch.resize(dims * dims + kTokens * (dims + 2 * width));
  float* const directions = scratch.data();             // [dims, dims]
  float* const turned_keys = directions + dims * dims;  // [dims, tokens]
  float* const keys = turned_keys + dims * kTokens;     // [tokens, heads, dims]
  float* const values = keys + kTokens * width;         // [tokens, heads, dims]
  std::fill_n(directions, dims * dims, 0.0F);
  for (std::size_t d = 0; d < dims; ++d) directions[d * dims + d] = 1;
  from.strategy.transform_queries(shape, directions, shape.head_dim);
  std::fill_n(values, kTokens * width, 0.0F);
  const std::array<float, kTokens> ones = filled_with_ones();
  const std::array<const std::byte*, 1> page{from.bytes};
  for (std::size_t head = 0; head < heads; ++head) {
    const auto kv_head = static_cast<int>(head);
    from.strategy.scores(shape, {page, kv_head, 0, KvStrategy::kTokens}, directions, shape.head_dim,
                         turned_keys);
    for (std::size_t token = 0; token < kTokens; ++token) {
      const std::size_t at = token * width + head * dims;
      for (std::size_t d = 0; d < dims; ++d) keys[at + d] = turned_keys[d * kTokens + token];
      // One by one, because a weight of zero would let what is not finite pass to other tokens.
      const auto slot = static_cast<int>(token);
      from.strategy.accumulate(shape, {page, kv_head, slot, slot + 1}, ones.data(), 1, values + at,
                               nullptr);
    }
  }
  from.strategy.transform_outputs(shape, values, static_cast<int>(kTokens * heads));
  for (std::size_t token = 0; token < kTokens; ++token) {
    to.strategy.write(shape, to.bytes, static_cast<int>(token), {keys + token * width, width},
                      {values + token * width, width});
  }
}

}  // namespace quiver
