// The loops over pages: several queries a pass, so that a page is read once for all of them.
#include "pages.hpp"

#include "elements.hpp"

#include <algorithm>
#include <cstring>

// The same source for wider registers, chosen when the library is loaded. Only the width differs:
// no operation is fused or reordered, so the bits are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define QUIVER_WIDER __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define QUIVER_WIDER
#endif

namespace quiver::kv_float {
namespace {

constexpr int kTokens = KvStrategy::kTokens;
constexpr int kBlocks = kTokens / kWidth;

/// First key and first value of one kv head.
template <class Type>
struct Head {
  using Stored = typename Type::Stored;
  const Stored* keys;
  const Stored* values;

  [[gnu::always_inline]] Head(const std::byte* page, const KvShape& shape, int kv_head) {
    const auto stored = reinterpret_cast<const Stored*>(page);
    const std::size_t size = static_cast<std::size_t>(shape.head_dim) * kTokens;
    keys = stored + size * static_cast<std::size_t>(kv_head);
    values = keys + size * static_cast<std::size_t>(shape.kv_heads);
  }
};

/// Scores of kQueries queries with the tokens of kSpan blocks from `block` on.
template <class Type, int kQueries, int kSpan>
[[gnu::always_inline]] inline void score_blocks(const ScoresCall& call,
                                                const typename Type::Stored* keys, int block,
                                                int query) {
  const auto dims = static_cast<std::size_t>(call.shape.head_dim);
  const float* queries = call.queries + static_cast<std::size_t>(query) * dims;
  Floats sums[kQueries][kSpan] = {};
  const std::size_t stride = dims * kWidth;
  const typename Type::Stored* from = keys + static_cast<std::size_t>(block) * stride;
  for (std::size_t d = 0; d < dims; ++d) {
    for (int b = 0; b < kSpan; ++b) {
      Floats key;
      Type::load(from + static_cast<std::size_t>(b) * stride + d * kWidth, key);
      for (int q = 0; q < kQueries; ++q) {
        sums[q][b] += key * queries[static_cast<std::size_t>(q) * dims + d];
      }
    }
  }
  const int begin = std::max(call.first, block * kWidth);
  const int end = std::min(call.last, (block + kSpan) * kWidth);
  for (int q = 0; q < kQueries; ++q) {
    float lanes[kSpan * kWidth];
    std::memcpy(lanes, sums[q], sizeof lanes);
    float* scores = call.scores + static_cast<std::size_t>(query + q) * kTokens;
    std::copy(lanes + (begin - block * kWidth), lanes + (end - block * kWidth), scores + begin);
  }
}

/// Four queries share each key; a single one takes the whole page at once instead, because either
/// way four sums are needed to hide the latency of an addition.
template <class Type>
[[gnu::always_inline]] inline void score_page(const ScoresCall& call) {
  const auto* keys = Head<Type>(call.page, call.shape, call.kv_head).keys;
  const int first_block = call.first / kWidth;
  const int last_block = (call.last + kWidth - 1) / kWidth;
  int query = 0;
  for (; query + 4 <= call.query_count; query += 4) {
    for (int block = first_block; block < last_block; ++block) {
      score_blocks<Type, 4, 1>(call, keys, block, query);
    }
  }
  for (; query < call.query_count; ++query) {
    if (last_block - first_block == kBlocks) {
      score_blocks<Type, 1, kBlocks>(call, keys, 0, query);
      continue;
    }
    for (int block = first_block; block < last_block; ++block) {
      score_blocks<Type, 1, 1>(call, keys, block, query);
    }
  }
}

/// Adds to kQueries outputs, for the dimensions from `dim` on that fill kSpan vectors.
template <class Type, int kQueries, int kSpan>
[[gnu::always_inline]] inline void add_values(const AccumulateCall& call,
                                              const typename Type::Stored* values, std::size_t dim,
                                              int query) {
  const auto dims = static_cast<std::size_t>(call.shape.head_dim);
  float* output = call.output + static_cast<std::size_t>(query) * dims + dim;
  const float* weights = call.weights + static_cast<std::size_t>(query) * kTokens;
  Floats sums[kQueries][kSpan];
  for (int q = 0; q < kQueries; ++q) {
    std::memcpy(sums[q], output + static_cast<std::size_t>(q) * dims, sizeof sums[q]);
  }
  for (int slot = call.first; slot < call.last; ++slot) {
    const typename Type::Stored* from = values + static_cast<std::size_t>(slot) * dims + dim;
    for (int s = 0; s < kSpan; ++s) {
      Floats value;
      Type::load(from + s * kWidth, value);
      for (int q = 0; q < kQueries; ++q) sums[q][s] += value * weights[q * kTokens + slot];
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    std::memcpy(output + static_cast<std::size_t>(q) * dims, sums[q], sizeof sums[q]);
  }
}

/// The same for the dimensions that do not fill a vector.
template <class Type>
[[gnu::always_inline]] inline void add_rest(const AccumulateCall& call,
                                            const typename Type::Stored* values, std::size_t dim,
                                            int query) {
  const auto dims = static_cast<std::size_t>(call.shape.head_dim);
  const std::size_t rest = dims - dim;
  float* output = call.output + static_cast<std::size_t>(query) * dims + dim;
  const float* weights = call.weights + static_cast<std::size_t>(query) * kTokens;
  for (int slot = call.first; slot < call.last; ++slot) {
    typename Type::Stored padded[kWidth] = {};
    std::copy_n(values + static_cast<std::size_t>(slot) * dims + dim, rest, padded);
    Floats value;
    Type::load(padded, value);
    for (std::size_t i = 0; i < rest; ++i) output[i] += value[i] * weights[slot];
  }
}

template <class Type, int kQueries>
[[gnu::always_inline]] inline void add_page(const AccumulateCall& call,
                                            const typename Type::Stored* values, int query) {
  // Four sums hide the latency of an addition, however many queries they belong to.
  constexpr int kSpan = 4 / kQueries;
  const auto dims = static_cast<std::size_t>(call.shape.head_dim);
  std::size_t dim = 0;
  for (; dim + kSpan * kWidth <= dims; dim += kSpan * kWidth) {
    add_values<Type, kQueries, kSpan>(call, values, dim, query);
  }
  for (; dim + kWidth <= dims; dim += kWidth) {
    add_values<Type, kQueries, 1>(call, values, dim, query);
  }
  if (dim == dims) return;
  for (int q = 0; q < kQueries; ++q) add_rest<Type>(call, values, dim, query + q);
}

template <class Type>
[[gnu::always_inline]] inline void accumulate_page(const AccumulateCall& call) {
  const auto* values = Head<Type>(call.page, call.shape, call.kv_head).values;
  int query = 0;
  for (; query + 4 <= call.query_count; query += 4) add_page<Type, 4>(call, values, query);
  for (; query < call.query_count; ++query) add_page<Type, 1>(call, values, query);
}

template <class Type>
void write_page(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
                std::span<const float> values) {
  const auto stored = reinterpret_cast<typename Type::Stored*>(page);
  const auto dims = static_cast<std::size_t>(shape.head_dim);
  const auto heads = static_cast<std::size_t>(shape.kv_heads);
  const auto token = static_cast<std::size_t>(slot);
  for (std::size_t head = 0; head < heads; ++head) {
    auto* to_keys = stored + (head * kBlocks + token / kWidth) * dims * kWidth + token % kWidth;
    auto* to_values = stored + ((heads + head) * kTokens + token) * dims;
    for (std::size_t d = 0; d < dims; ++d) {
      to_keys[d * kWidth] = Type::round(keys[head * dims + d]);
      to_values[d] = Type::round(values[head * dims + d]);
    }
  }
}

}  // namespace

void write(Element element, const KvShape& shape, std::byte* page, int slot,
           std::span<const float> keys, std::span<const float> values) {
  switch (element) {
    case Element::f32: return write_page<F32>(shape, page, slot, keys, values);
    case Element::f16: return write_page<F16>(shape, page, slot, keys, values);
    case Element::bf16: return write_page<Bf16>(shape, page, slot, keys, values);
  }
}

QUIVER_WIDER void scores(Element element, const ScoresCall& call) {
  switch (element) {
    case Element::f32: return score_page<F32>(call);
    case Element::f16: return score_page<F16>(call);
    case Element::bf16: return score_page<Bf16>(call);
  }
}

QUIVER_WIDER void accumulate(Element element, const AccumulateCall& call) {
  switch (element) {
    case Element::f32: return accumulate_page<F32>(call);
    case Element::f16: return accumulate_page<F16>(call);
    case Element::bf16: return accumulate_page<Bf16>(call);
  }
}

}  // namespace quiver::kv_float
