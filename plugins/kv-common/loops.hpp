// The loops over stored numbers, whatever they are stored as: scores of a head, and sums of values.
//
//   keys    [kTokens / 16 blocks][head_dim] units of 16 tokens
//   values  [kTokens] rows of units of 16 dimensions, the last one filled up
//
// A codec reads one unit: `unit(from, out)` gives its sixteen numbers, kUnitBytes its size.
//
// Scores of 16 tokens grow side by side, one multiply-add a dimension, so neither a horizontal sum
// nor a dimension that fills no register exists. Values are added token by token. One result is
// one chain of multiply-adds in an order of its own, so it does not depend on what is computed
// beside it.
#pragma once

#include "kv-common/read_ahead.hpp"
#include "kv-common/vectors.hpp"

namespace quiver::kv {
namespace {

/// Stores the part of `value` that belongs to slots [first, last).
QUIVER_KV_INLINE void store_slots(float* scores, int slot, int first, int last, Vec value) {
  if (slot >= first && slot + kLanes <= last) {
    store(scores + slot, value);
    return;
  }
  float lanes[kLanes];
  store(lanes, value);
  for (int i = 0; i < kLanes; ++i) {
    if (slot + i >= first && slot + i < last) scores[slot + i] = lanes[i];
  }
}

/// Adds to the sums of each query, for kBeside units that lie `stride` bytes apart, the numbers of
/// the unit times the query's factor; factors lie `factor_stride` apart.
template <class Codec, int kQueries, int kBeside>
QUIVER_KV_INLINE void add_products(const Codec& codec, const std::byte* from, std::size_t stride,
                                   const float* factors, std::size_t factor_stride,
                                   Vec (&sums)[kQueries][kBeside][kParts]) {
  // Unit by unit, since eight lanes leave no registers to read ahead into.
#pragma GCC unroll 8
  for (int b = 0; b < kBeside; ++b) {
    Vec numbers[kParts];
    codec.unit(from + static_cast<std::size_t>(b) * stride, numbers);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const Vec factor = all(factors[static_cast<std::size_t>(q) * factor_stride]);
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        sums[q][b][p] = multiply_add(numbers[p], factor, sums[q][b][p]);
        keep(sums[q][b][p]);
      }
    }
  }
}

/// What the scores of one head are made from.
struct HeadKeys {
  const std::byte* keys;
  std::size_t block_bytes;
  std::size_t dims;
  int first;
  int last;
  const float* factors;  ///< [kTokens] by which scores are multiplied, or nullptr.
};

/// Scores of kQueries queries with the tokens of kBeside blocks from `block` on.
template <int kQueries, int kBeside, class Codec>
void score_blocks(const Codec& codec, const HeadKeys& head, int block, const float* queries,
                  float* scores, LinesAhead ahead) {
  const Codec local = codec;
  const std::size_t dims = head.dims;
  const std::byte* from = head.keys + static_cast<std::size_t>(block) * head.block_bytes;
  Vec sums[kQueries][kBeside][kParts];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) sums[q][b][p] = zeros();
    }
  }
#pragma GCC unroll 1
  for (std::size_t d = 0; d < dims; ++d) {
    ahead.take<kBeside * Codec::kUnitBytes>(d);
    add_products(local, from, head.block_bytes, queries + d, dims, sums);
    from += Codec::kUnitBytes;
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        const int slot = (block + b) * kUnit + p * kLanes;
        Vec sum = sums[q][b][p];
        if (head.factors != nullptr) sum = multiply(sum, load(head.factors + slot));
        store_slots(scores + q * kTokens, slot, head.first, head.last, sum);
      }
    }
  }
}

/// What the sums of one head are made from, for dimensions that lie side by side.
struct HeadValues {
  const std::byte* values;  ///< The first unit of the first token.
  std::size_t row_bytes;
  int first;
  int last;
};

/// What passes of kQueries queries read of some blocks from `keys` on, and of some units of values.
template <int kQueries, class Codec>
QUIVER_KV_INLINE Lines key_lines(const std::byte* keys, std::size_t dims) {
  const std::size_t block_bytes = dims * Codec::kUnitBytes;
  return stream_lines<units_beside(kQueries)>(keys, block_bytes, block_bytes);
}
template <int kQueries, class Codec>
QUIVER_KV_INLINE Lines value_lines(const HeadValues& head, std::size_t unit) {
  return row_lines<units_beside(kQueries) * Codec::kUnitBytes>(
      head.values + unit * Codec::kUnitBytes +
          static_cast<std::size_t>(head.first) * head.row_bytes,
      head.row_bytes, head.last - head.first);
}

/// Scores of all queries [count, dims] with the tokens first to last of a head; `next` is read
/// next.
template <class Codec>
void score_head(const Codec& codec, const HeadKeys& head, const float* queries, int count,
                float* scores, const HeadValues& next) {
  if (head.first >= head.last) return;
  const int end = (head.last + kUnit - 1) / kUnit;
  for_passes(count, [&](auto pass, int query) {
    constexpr int kQueries = decltype(pass)::value;
    constexpr int kBeside = units_beside(kQueries);
    const float* from = queries + static_cast<std::size_t>(query) * head.dims;
    float* to = scores + static_cast<std::size_t>(query) * kTokens;
    const auto lines_of = [&](int block) {
      return key_lines<kQueries, Codec>(
          head.keys + static_cast<std::size_t>(block) * head.block_bytes, head.dims);
    };
    int block = head.first / kUnit;
    for (; block + kBeside <= end; block += kBeside) {
      const bool has_more = block + 2 * kBeside <= end;
      const Lines then =
          has_more ? lines_of(block + kBeside) : value_lines<kQueries, Codec>(next, 0);
      // A second pass finds all of it in a cache.
      const LinesAhead ahead = query == 0 ? LinesAhead(lines_of(block), then) : LinesAhead();
      score_blocks<kQueries, kBeside>(codec, head, block, from, to, ahead);
    }
    for (; block < end; ++block) score_blocks<kQueries, 1>(codec, head, block, from, to, {});
  });
}

/// Adds to kQueries outputs kBeside units of values. `weights` has kTokens a query; outputs lie
/// `stride` apart.
template <int kQueries, int kBeside, class Codec>
void add_units(const Codec& codec, const HeadValues& head, std::size_t unit, const float* weights,
               float* output, std::size_t stride, LinesAhead ahead) {
  const Codec local = codec;
  Vec sums[kQueries][kBeside][kParts];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        sums[q][b][p] =
            load(output + static_cast<std::size_t>(q) * stride + b * kUnit + p * kLanes);
      }
    }
  }
  const std::byte* from = head.values + unit * Codec::kUnitBytes +
                          static_cast<std::size_t>(head.first) * head.row_bytes;
#pragma GCC unroll 1
  for (int slot = head.first; slot < head.last; ++slot) {
    ahead.take<kBeside * Codec::kUnitBytes>(static_cast<std::size_t>(slot - head.first));
    add_products(local, from, Codec::kUnitBytes, weights + slot, kTokens, sums);
    from += head.row_bytes;
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        store(output + static_cast<std::size_t>(q) * stride + b * kUnit + p * kLanes,
              sums[q][b][p]);
      }
    }
  }
}

/// The same for the last unit, of which only `rest` dimensions exist.
template <int kQueries, class Codec>
void add_rest(const Codec& codec, const HeadValues& head, std::size_t unit, const float* weights,
              float* output, std::size_t stride, std::size_t rest) {
  float padded[kQueries * kUnit] = {};
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(padded + q * kUnit, output + q * stride, rest * sizeof(float));
  }
  add_units<kQueries, 1>(codec, head, unit, weights, padded, kUnit, {});
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(output + q * stride, padded + q * kUnit, rest * sizeof(float));
  }
}

/// Adds to kQueries outputs [kQueries, stride] the dimensions from `dim` to `end`; `dim` begins a
/// unit. Where the loop asks for memory ahead of what it reads, `next` is read next.
template <int kQueries, class Codec>
QUIVER_KV_INLINE void add_dims(const Codec& codec, const HeadValues& head, std::size_t dim,
                               std::size_t end, const float* weights, float* output,
                               std::size_t stride, bool reads_ahead, const Lines& next) {
  constexpr auto kBeside = static_cast<std::size_t>(units_beside(kQueries));
  constexpr std::size_t kDims = kBeside * kUnit;
  const auto lines_of = [&](std::size_t at) {
    return value_lines<kQueries, Codec>(head, at / kUnit);
  };
  for (; dim + kDims <= end; dim += kDims) {
    const Lines then = dim + 2 * kDims <= end ? lines_of(dim + kDims) : next;
    const LinesAhead ahead = reads_ahead ? LinesAhead(lines_of(dim), then) : LinesAhead();
    add_units<kQueries, static_cast<int>(kBeside)>(codec, head, dim / kUnit, weights, output + dim,
                                                   stride, ahead);
  }
  for (; dim + kUnit <= end; dim += kUnit) {
    add_units<kQueries, 1>(codec, head, dim / kUnit, weights, output + dim, stride, {});
  }
  if (dim < end) {
    add_rest<kQueries>(codec, head, dim / kUnit, weights, output + dim, stride, end - dim);
  }
}

/// Weights of kQueries queries for the tokens first to last, each multiplied by its token's factor.
template <int kQueries>
QUIVER_KV_INLINE void fold_weights(const float* weights, const float* factors, int first, int last,
                                   float* folded) {
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    const float* from = weights + q * kTokens;
    float* to = folded + q * kTokens;
    for (int slot = first; slot < last; ++slot) to[slot] = from[slot] * factors[slot];
  }
}

}  // namespace
}  // namespace quiver::kv
