// The loops over pages of affine codes; built once for each instruction set.
#include "kernels.hpp"

#include "encode.hpp"
#include "sum_words.hpp"

namespace quiver::kv_affine {
namespace {

using kv::kTokens;

/// The parts of one head in a page.
struct Head {
  std::uint32_t* keys;
  std::uint16_t* key_parameters;
  std::uint32_t* values;
  std::uint16_t* value_parameters;
};

Head head_of(const Layout& layout, const std::byte* page, int kv_head) {
  auto* at = const_cast<std::byte*>(page) + layout.head_bytes() * static_cast<std::size_t>(kv_head);
  Head head{};
  head.keys = reinterpret_cast<std::uint32_t*>(at);
  head.key_parameters = reinterpret_cast<std::uint16_t*>(at + layout.key_bytes);
  at += layout.key_bytes + layout.parameter_bytes;
  head.values = reinterpret_cast<std::uint32_t*>(at);
  head.value_parameters = reinterpret_cast<std::uint16_t*>(at + layout.value_bytes);
  return head;
}

/// One piece of the keys of some blocks, and of the queries.
template <int kQueries>
struct Piece {
  Words words;  ///< Of the first block.
  const std::uint16_t* parameters;
  std::size_t block_parameters;
  float totals[kQueries];  ///< Sums of the queries as rounded.
  bool is_first;           ///< Starts the scores.
};

/// Adds sums of integers, with scales and biases, to scores, or starts them.
template <int kQueries, int kBeside>
QUIVER_KV_INLINE void add_scores(const Piece<kQueries>& piece, const Rounded& queries,
                                 const Ints (&sums)[kQueries][kBeside][kParts], float* scores) {
#pragma GCC unroll 8
  for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const std::uint16_t* parameters =
          piece.parameters + static_cast<std::size_t>(b) * piece.block_parameters + p * kLanes;
      const Vec scale = kv::from_f16(parameters);
      const Vec bias = kv::from_f16(parameters + kUnit);
#pragma GCC unroll 8
      for (int q = 0; q < kQueries; ++q) {
        float* score = scores + q * kTokens + b * kUnit + p * kLanes;
        Vec sum = piece.is_first ? kv::zeros() : kv::load(score);
        sum = kv::multiply_add(kv::to_floats(sums[q][b][p]),
                               kv::multiply(scale, kv::all(queries.step[q])), sum);
        kv::store(score, kv::multiply_add(bias, kv::all(piece.totals[q]), sum));
      }
    }
  }
}

/// Adds a piece's part to the scores of kQueries queries and the tokens of kBeside blocks.
template <int kBits, int kQueries, int kBeside>
void add_piece(const Piece<kQueries>& piece, const Rounded& queries, float* scores,
               kv::PartAhead& ahead) {
  Ints sums[kQueries][kBeside][kParts];
  sum_words<kBits>(piece.words, queries, ahead, sums);
  add_scores(piece, queries, sums, scores);
}

template <int kBits, int kQueries>
void score_queries(const Layout& layout, const Head& head, const kv::ScoresCall& call, int query,
                   kv::PartAhead& ahead) {
  constexpr std::size_t kCodes = 32 / kBits;
  constexpr int kBeside = kv::units_beside(kQueries);
  const int end = (call.last + kUnit - 1) / kUnit;
  float local[kQueries * kTokens];
  float* target = call.scores + static_cast<std::size_t>(query) * kTokens;
  // Units of which some tokens are not wanted are computed whole.
  const bool is_whole = call.first % kUnit == 0 && call.last % kUnit == 0;
  float* scores = is_whole ? target : local;
  Rounded rounded;
  const float* queries = call.queries + static_cast<std::size_t>(query) * layout.dims;
  Piece<kQueries> piece{};
  piece.words.unit_words = layout.key_words * kUnit;
  piece.block_parameters = layout.groups * 2 * kUnit;
  const std::uint16_t* parameters = head.key_parameters;
  std::size_t word = 0;
  for (std::size_t at = 0, in_group = 0, count = 0; at < layout.dims; at += count) {
    const std::size_t left = layout.group - in_group;
    count = left < kPiece ? left : kPiece;
    piece.words.count = (count + kCodes - 1) / kCodes;
    piece.is_first = at == 0;
    round_numbers<kBits>(queries + at, layout.dims, count, rounded, piece.totals, ahead);
    const auto place = [&](int block) {
      const auto b = static_cast<std::size_t>(block);
      piece.words.first = head.keys + b * piece.words.unit_words + word * kUnit;
      piece.parameters = parameters + b * piece.block_parameters;
    };
    int block = call.first / kUnit;
    for (; block + kBeside <= end; block += kBeside) {
      place(block);
      add_piece<kBits, kQueries, kBeside>(piece, rounded, scores + block * kUnit, ahead);
    }
    for (; block < end; ++block) {
      place(block);
      add_piece<kBits, kQueries, 1>(piece, rounded, scores + block * kUnit, ahead);
    }
    word += piece.words.count;
    in_group += count;
    if (in_group < layout.group) continue;
    in_group = 0;
    parameters += 2 * kUnit;
  }
  if (is_whole) return;
  for (int q = 0; q < kQueries; ++q) {
    const int at = q * kTokens + call.first;
    __builtin_memcpy(target + at, local + at,
                     static_cast<std::size_t>(call.last - call.first) * sizeof(float));
  }
}

template <int kBits>
void score_page(const Layout& layout, const kv::ScoresCall& call) {
  if (call.first >= call.last) return;
  const Head head = head_of(layout, call.page, call.kv_head);
  // What is wanted next are the values of the same tokens.
  kv::PartAhead ahead{reinterpret_cast<const std::byte*>(head.values),
                      layout.value_bytes + layout.parameter_bytes};
  kv::for_passes(call.query_count, [&](auto pass, int query) {
    score_queries<kBits, decltype(pass)::value>(layout, head, call, query, ahead);
  });
  ahead.take_rest();
}

/// Sixteen numbers from `slot` on, those outside the range as zero: there, a page may hold
/// anything.
void clear_outside(const kv::AccumulateCall& call, int slot, float* numbers) {
  for (int i = 0; i < kUnit; ++i) {
    if (slot + i < call.first || slot + i >= call.last) numbers[i] = 0;
  }
}

/// Weights with scales folded in, and what is added to every number.
template <int kQueries>
struct Folded {
  alignas(64) float weights[kQueries][kTokens];
  float extra[kQueries];
};

/// Halfway between the least code and the greatest. Codes are counted from here, so that rounding a
/// weight moves a sum by no more than half of a group's range.
template <int kBits>
constexpr float kMiddle = ((1 << kBits) - 1) / 2.0F;

/// Folds a group's parameters into the weights of the units from slot `begin` to `end`: the scales
/// into each, the middles of the ranges into what is added. That has sixteen sums that are added in
/// pairs, whatever the instruction set; weights of zero do not change it.
template <int kBits, int kQueries>
QUIVER_KV_INLINE void fold(const kv::AccumulateCall& call, const float* weights,
                           const std::uint16_t* parameters, int begin, int end,
                           Folded<kQueries>& to, kv::PartAhead& ahead) {
  Vec sums[kQueries][kParts];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) sums[q][p] = kv::zeros();
  }
#pragma GCC unroll 1
  for (int slot = begin; slot < end; slot += kUnit) {
    ahead.take<2 * kv::kLine>();
    float middles[kUnit];
    const bool is_whole = slot >= call.first && slot + kUnit <= call.last;
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const int at = slot + p * kLanes;
      const Vec scale = kv::from_f16(parameters + at);
      const Vec middle =
          kv::multiply_add(scale, kv::all(kMiddle<kBits>), kv::from_f16(parameters + kTokens + at));
      kv::store(middles + p * kLanes, middle);
#pragma GCC unroll 8
      for (int q = 0; q < kQueries; ++q) {
        const Vec weight = kv::load(weights + q * kTokens + at);
        kv::store(to.weights[q] + at, kv::multiply(weight, scale));
        if (is_whole) sums[q][p] = kv::multiply_add(weight, middle, sums[q][p]);
      }
    }
    if (is_whole) continue;
    clear_outside(call, slot, middles);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      clear_outside(call, slot, to.weights[q] + slot);
      float own[kUnit];
      __builtin_memcpy(own, weights + q * kTokens + slot, sizeof own);
      clear_outside(call, slot, own);
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        sums[q][p] = kv::multiply_add(kv::load(own + p * kLanes), kv::load(middles + p * kLanes),
                                      sums[q][p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) to.extra[q] = kv::total(sums[q]);
}

/// Adds to the outputs of kQueries queries, `stride` apart, kBeside units of dimensions.
template <int kBits, int kQueries, int kBeside>
void add_values(const Words& words, const Rounded& weights, const float* extra, float* output,
                std::size_t stride, kv::PartAhead& ahead) {
  Ints sums[kQueries][kBeside][kParts];
  sum_words<kBits>(words, weights, ahead, sums);
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    const Vec step = kv::all(weights.step[q]);
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        float* to = output + static_cast<std::size_t>(q) * stride + b * kUnit + p * kLanes;
        const Vec sum = kv::multiply_add(kv::to_floats(sums[q][b][p]), step, kv::load(to));
        kv::store(to, kv::add(sum, kv::all(extra[q])));
      }
    }
  }
}

/// The same for the last unit, of which only `rest` dimensions exist.
template <int kBits, int kQueries>
void add_rest(const Words& words, const Rounded& weights, const float* extra, float* output,
              std::size_t stride, std::size_t rest, kv::PartAhead& ahead) {
  float padded[kQueries * kUnit] = {};
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(padded + q * kUnit, output + q * stride, rest * sizeof(float));
  }
  add_values<kBits, kQueries, 1>(words, weights, extra, padded, kUnit, ahead);
  for (std::size_t q = 0; q < kQueries; ++q) {
    __builtin_memcpy(output + q * stride, padded + q * kUnit, rest * sizeof(float));
  }
}

template <int kBits, int kQueries>
void accumulate_queries(const Layout& layout, const Head& head, const kv::AccumulateCall& call,
                        int query, kv::PartAhead& ahead) {
  constexpr int kCodes = 32 / kBits;
  constexpr auto kBeside = static_cast<std::size_t>(kv::units_beside(kQueries));
  const int begin = call.first / kUnit * kUnit;
  const int end = (call.last + kUnit - 1) / kUnit * kUnit;
  const float* weights = call.weights + static_cast<std::ptrdiff_t>(query) * kTokens;
  float* output = call.output + static_cast<std::size_t>(query) * layout.dims;
  Folded<kQueries> folded;
  Rounded rounded;
  float totals[kQueries];
  Words words{nullptr, static_cast<std::size_t>(kTokens / kCodes * kUnit),
              static_cast<std::size_t>((end - begin) / kCodes)};
  const auto units_from = [&](std::size_t dim) {
    words.first = head.values + dim / kUnit * words.unit_words + begin / kCodes * kUnit;
    return words;
  };
  for (std::size_t g = 0; g < layout.groups; ++g) {
    fold<kBits>(call, weights, head.value_parameters + g * 2 * kTokens, begin, end, folded, ahead);
    round_units<kBits>(folded.weights[0] + begin, kTokens, static_cast<std::size_t>(end - begin),
                       rounded, totals, ahead);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) folded.extra[q] -= kMiddle<kBits> * totals[q];
    std::size_t dim = g * layout.group;
    const std::size_t last = dim + layout.group;
    for (; dim + kBeside * kUnit <= last; dim += kBeside * kUnit) {
      add_values<kBits, kQueries, static_cast<int>(kBeside)>(units_from(dim), rounded, folded.extra,
                                                             output + dim, layout.dims, ahead);
    }
    for (; dim + kUnit <= last; dim += kUnit) {
      add_values<kBits, kQueries, 1>(units_from(dim), rounded, folded.extra, output + dim,
                                     layout.dims, ahead);
    }
    if (dim < last) {
      add_rest<kBits, kQueries>(units_from(dim), rounded, folded.extra, output + dim, layout.dims,
                                last - dim, ahead);
    }
  }
}

template <int kBits>
void accumulate_page(const Layout& layout, const kv::AccumulateCall& call) {
  if (call.first >= call.last) return;
  const Head head = head_of(layout, call.page, call.kv_head);
  kv::PartAhead ahead{};
  if (call.next != nullptr) {
    const Head next = head_of(layout, call.next, call.kv_head);
    ahead = {reinterpret_cast<const std::byte*>(next.keys),
             layout.key_bytes + layout.parameter_bytes};
  }
  kv::for_passes(call.query_count, [&](auto pass, int query) {
    accumulate_queries<kBits, decltype(pass)::value>(layout, head, call, query, ahead);
  });
  ahead.take_rest();
}

void write(const Format& format, const KvShape& shape, std::byte* page, int slot, const float* keys,
           const float* values) {
  const Layout layout = layout_of(format, shape);
  const auto token = static_cast<std::size_t>(slot);
  for (int h = 0; h < shape.kv_heads; ++h, keys += layout.dims, values += layout.dims) {
    const Head head = head_of(layout, page, h);
    const Place key{head.keys, head.key_parameters, token};
    const Place value{head.values, head.value_parameters, token};
    if (format.key_bits == 8) write_key<8>(layout, key, keys);
    if (format.key_bits == 4) write_key<4>(layout, key, keys);
    if (format.value_bits == 8) write_value<8>(layout, value, values);
    if (format.value_bits == 4) write_value<4>(layout, value, values);
  }
}

void scores(const Format& format, const kv::ScoresCall& call) {
  const Layout layout = layout_of(format, call.shape);
  if (format.key_bits == 8) return score_page<8>(layout, call);
  score_page<4>(layout, call);
}

void accumulate(const Format& format, const kv::AccumulateCall& call) {
  const Layout layout = layout_of(format, call.shape);
  if (format.value_bits == 8) return accumulate_page<8>(layout, call);
  accumulate_page<4>(layout, call);
}

}  // namespace

const Kernels QUIVER_KV_TABLE = {write, scores, accumulate};

}  // namespace quiver::kv_affine
