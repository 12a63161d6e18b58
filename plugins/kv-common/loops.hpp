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

#include "kv-common/page_walk.hpp"
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
  int stride;            ///< From one query's scores to the next one's.
};

/// Scores of kQueries queries with the tokens of kBeside blocks from `block` on.
template <int kQueries, int kBeside, class Codec, class Ahead>
void score_blocks(const Codec& codec, const HeadKeys& head, int block, const float* queries,
                  float* scores, Ahead& ahead) {
  const Codec local = codec;
  Ahead next = ahead;
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
    next.template take<kBeside * Codec::kUnitBytes>(d);
    add_products(local, from, head.block_bytes, queries + d, dims, sums);
    from += Codec::kUnitBytes;
  }
  ahead = next;
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        const int slot = (block + b) * kUnit + p * kLanes;
        Vec sum = sums[q][b][p];
        if (head.factors != nullptr) sum = multiply(sum, load(head.factors + slot));
        store_slots(scores + q * head.stride, slot, head.first, head.last, sum);
      }
    }
  }
}

/// What the sums of one head are made from, for dimensions that lie side by side.
struct HeadValues {
  const std::byte* values = nullptr;  ///< The first unit of the first token.
  std::size_t row_bytes = 0;
  int first = 0;
  int last = 0;
};

/// Whether passes of kQueries queries read values by whole lines. Narrower strips find half of
/// their lines in a cache and then none, which is no pace to ask for others at.
template <int kQueries, class Codec>
constexpr bool kReadsLines = units_beside(kQueries) * Codec::kUnitBytes >= kLine;

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

/// What is read after a page's part: the values or, where those are nullptr, the keys of a head.
struct ReadNext {
  HeadValues values;
  const std::byte* keys = nullptr;
  std::size_t key_bytes = 0;

  QUIVER_KV_INLINE PartAhead part() const {
    if (values.values == nullptr) return {keys, key_bytes};
    const auto row = [&](int slot) {
      return values.values + static_cast<std::size_t>(slot) * values.row_bytes;
    };
    return {row(values.first), static_cast<std::size_t>(row(values.last) - row(values.first))};
  }

  /// What the first loop over it reads.
  template <int kQueries, class Codec>
  QUIVER_KV_INLINE Lines lines(std::size_t dims) const {
    if (values.values != nullptr) return value_lines<kQueries, Codec>(values, 0);
    if (keys != nullptr) return key_lines<kQueries, Codec>(keys, dims);
    return {};
  }
};

/// Scores of all queries [count, dims] with the tokens first to last of a head.
template <class Codec>
void score_head(const Codec& codec, const HeadKeys& head, const float* queries, int count,
                float* scores, const ReadNext& next) {
  const int end = (head.last + kUnit - 1) / kUnit;
  PartAhead part = next.part();
  for_passes(count, [&](auto pass, int query) {
    constexpr int kQueries = decltype(pass)::value;
    constexpr int kBeside = units_beside(kQueries);
    const float* from = queries + static_cast<std::size_t>(query) * head.dims;
    float* to = scores + query * head.stride;
    int block = head.first / kUnit;
    for (; block + kBeside <= end; block += kBeside) {
      if constexpr (kReadsLines<kQueries, Codec>) {
        const auto lines_of = [&](int first) {
          return key_lines<kQueries, Codec>(
              head.keys + static_cast<std::size_t>(first) * head.block_bytes, head.dims);
        };
        const bool has_more = block + 2 * kBeside <= end;
        const Lines then =
            has_more ? lines_of(block + kBeside) : next.lines<kQueries, Codec>(head.dims);
        // A second pass finds all of it in a cache.
        LinesAhead ahead = query == 0 ? LinesAhead(lines_of(block), then) : LinesAhead();
        score_blocks<kQueries, kBeside>(codec, head, block, from, to, ahead);
      } else {
        score_blocks<kQueries, kBeside>(codec, head, block, from, to, part);
      }
    }
    PartAhead none;
    for (; block < end; ++block) score_blocks<kQueries, 1>(codec, head, block, from, to, none);
    if (kReadsLines<kQueries, Codec>) part = {};
  });
  part.take_rest();
}

/// Adds to kQueries outputs, `stride` apart, kBeside units of values.
template <int kQueries, int kBeside, class Codec, class Ahead>
void add_units(const Codec& codec, const HeadValues& head, std::size_t unit, const Weights& weights,
               float* output, std::size_t stride, Ahead& ahead) {
  const Codec local = codec;
  Ahead next = ahead;
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
    next.template take<kBeside * Codec::kUnitBytes>(static_cast<std::size_t>(slot - head.first));
    add_products(local, from, Codec::kUnitBytes, weights.first + slot,
                 static_cast<std::size_t>(weights.stride), sums);
    from += head.row_bytes;
  }
  ahead = next;
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
void add_rest(const Codec& codec, const HeadValues& head, std::size_t unit, const Weights& weights,
              float* output, std::size_t stride, std::size_t rest) {
  float padded[kQueries * kUnit] = {};
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(padded + q * kUnit, output + q * stride, rest * sizeof(float));
  }
  PartAhead none;
  add_units<kQueries, 1>(codec, head, unit, weights, padded, kUnit, none);
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(output + q * stride, padded + q * kUnit, rest * sizeof(float));
  }
}

/// Adds to kQueries outputs [kQueries, dims] a page's values. `part` is what is read next, of which
/// a pass leaves nothing where it asks for lines in its own way.
template <int kQueries, class Codec>
QUIVER_KV_INLINE void add_dims(const Codec& codec, const HeadValues& head, std::size_t dims,
                               const Weights& weights, float* output, bool is_first_pass,
                               const ReadNext& next, PartAhead& part) {
  constexpr auto kBeside = static_cast<std::size_t>(units_beside(kQueries));
  constexpr std::size_t kDims = kBeside * kUnit;
  [[maybe_unused]] const auto lines_of = [&](std::size_t at) {
    return value_lines<kQueries, Codec>(head, at / kUnit);
  };
  std::size_t dim = 0;
  for (; dim + kDims <= dims; dim += kDims) {
    const std::size_t unit = dim / kUnit;
    if constexpr (kReadsLines<kQueries, Codec>) {
      const bool has_more = dim + 2 * kDims <= dims;
      const Lines then = has_more ? lines_of(dim + kDims) : next.lines<kQueries, Codec>(dims);
      LinesAhead ahead = is_first_pass ? LinesAhead(lines_of(dim), then) : LinesAhead();
      add_units<kQueries, kBeside>(codec, head, unit, weights, output + dim, dims, ahead);
      part = {};
    } else {
      add_units<kQueries, kBeside>(codec, head, unit, weights, output + dim, dims, part);
    }
  }
  PartAhead none;
  for (; dim + kUnit <= dims; dim += kUnit) {
    add_units<kQueries, 1>(codec, head, dim / kUnit, weights, output + dim, dims, none);
  }
  if (dim < dims) {
    add_rest<kQueries>(codec, head, dim / kUnit, weights, output + dim, dims, dims - dim);
  }
}

/// Weights of kQueries queries for the tokens first to last, each multiplied by its token's factor.
template <int kQueries>
QUIVER_KV_INLINE void fold_weights(const Weights& weights, const float* factors, int first,
                                   int last, float* folded) {
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    const float* from = weights.first + q * weights.stride;
    float* to = folded + q * kTokens;
    for (int slot = first; slot < last; ++slot) to[slot] = from[slot] * factors[slot];
  }
}

}  // namespace
}  // namespace quiver::kv
