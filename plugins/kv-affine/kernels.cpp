// The loops over pages of affine codes; built once for each instruction set.
#include "kernels.hpp"

#include "encode.hpp"
#include "kv-common/page_walk.hpp"
#include "rounded_queries.hpp"

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

/// A piece of the keys of some blocks.
struct KeyPiece {
  Words words;  ///< Of the first block.
  const std::uint16_t* parameters;
  std::size_t block_parameters;
  bool is_first;  ///< Starts the scores.
};

/// Adds sums of integers, with scales and biases, to scores that lie `stride` apart, or starts
/// them.
template <int kQueries, int kBeside>
QUIVER_KV_INLINE void add_scores(const KeyPiece& keys, const RoundedPiece<kQueries>& queries,
                                 const Ints (&sums)[kQueries][kBeside][kParts], float* scores,
                                 int stride) {
#pragma GCC unroll 8
  for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const std::uint16_t* parameters =
          keys.parameters + static_cast<std::size_t>(b) * keys.block_parameters + p * kLanes;
      const Vec scale = kv::from_f16(parameters);
      const Vec bias = kv::from_f16(parameters + kUnit);
#pragma GCC unroll 8
      for (int q = 0; q < kQueries; ++q) {
        float* score = scores + q * stride + b * kUnit + p * kLanes;
        Vec sum = keys.is_first ? kv::zeros() : kv::load(score);
        sum = kv::multiply_add(kv::to_floats(sums[q][b][p]),
                               kv::multiply(scale, kv::all(queries.numbers.step[q])), sum);
        kv::store(score, kv::multiply_add(bias, kv::all(queries.totals[q]), sum));
      }
    }
  }
}

/// Adds a piece's part to the scores of kQueries queries and the tokens of kBeside blocks.
template <int kBits, int kQueries, int kBeside>
void add_piece(const KeyPiece& keys, const RoundedPiece<kQueries>& queries, float* scores,
               int stride, kv::PartAhead& ahead) {
  Ints sums[kQueries][kBeside][kParts];
  sum_words<kBits, Asks::all>(keys.words, queries.numbers, ahead, sums);
  add_scores(keys, queries, sums, scores, stride);
}

/// Adds the products of some pieces with one page's keys to scores, `stride` apart.
template <int kBits, int kQueries>
void score_pieces(const Layout& layout, const Head& head, const kv::PageSlots& page,
                  const RoundedQueries<kQueries>& queries, float* scores, int stride,
                  kv::PartAhead& ahead) {
  constexpr int kBeside = kv::units_beside(kQueries);
  const int end = (page.last + kUnit - 1) / kUnit;
  KeyPiece keys{};
  keys.words.unit_words = layout.key_words * kUnit;
  keys.block_parameters = layout.groups * 2 * kUnit;
  std::size_t word = queries.word;
  for (std::size_t i = 0; i < queries.count; ++i) {
    const RoundedPiece<kQueries>& piece = queries.pieces[i];
    keys.words.count = piece.words;
    keys.is_first = word == 0;
    const auto place = [&](int block) {
      const auto b = static_cast<std::size_t>(block);
      keys.words.first = head.keys + b * keys.words.unit_words + word * kUnit;
      keys.parameters = head.key_parameters + b * keys.block_parameters + piece.group * 2 * kUnit;
    };
    int block = page.first / kUnit;
    for (; block + kBeside <= end; block += kBeside) {
      place(block);
      add_piece<kBits, kQueries, kBeside>(keys, piece, scores + block * kUnit, stride, ahead);
    }
    for (; block < end; ++block) {
      place(block);
      add_piece<kBits, kQueries, 1>(keys, piece, scores + block * kUnit, stride, ahead);
    }
    word += piece.words;
  }
}

template <int kBits, int kQueries>
void score_queries(const Layout& layout, const kv::ScoresCall& call, int query) {
  const kv::Slots& slots = call.slots;
  const float* queries = call.queries + static_cast<std::size_t>(query) * layout.dims;
  RoundedQueries<kQueries> rounded;
  kv::PartAhead values;
  kv::for_pages(slots, [&](const kv::PageSlots& page, const kv::PageSlots& following) {
    const Head head = head_of(layout, page.page, slots.kv_head);
    if (values.begin() == nullptr) {
      values = {head.values, layout.value_bytes + layout.parameter_bytes};
    }
    kv::PartAhead ahead = values;
    if (query != 0) {
      ahead = {};  // Another pass had it.
    } else if (following.page != nullptr) {
      ahead = {head_of(layout, following.page, slots.kv_head).keys,
               layout.key_bytes + layout.parameter_bytes};
    }
    float* target = call.scores + static_cast<std::ptrdiff_t>(query) * slots.stride + page.at;
    // Units of which some tokens are not wanted are computed whole.
    const bool is_whole = page.first % kUnit == 0 && page.last % kUnit == 0;
    float local[kQueries * kTokens];
    float* scores = is_whole ? target : local;
    const int stride = is_whole ? slots.stride : kTokens;
    do {
      if (!rounded.is_whole(layout)) round_next<kBits>(layout, queries, rounded, ahead);
      score_pieces<kBits>(layout, head, page, rounded, scores, stride, ahead);
    } while (rounded.end < layout.dims);
    ahead.take_rest();
    if (is_whole) return;
    for (int q = 0; q < kQueries; ++q) {
      __builtin_memcpy(target + q * slots.stride + page.first, local + q * kTokens + page.first,
                       static_cast<std::size_t>(page.last - page.first) * sizeof(float));
    }
  });
}

template <int kBits>
void score_pages(const Layout& layout, const kv::ScoresCall& call) {
  kv::for_passes(call.query_count, [&](auto pass, int query) {
    score_queries<kBits, decltype(pass)::value>(layout, call, query);
  });
}

/// Sixteen numbers from `slot` on, those outside the range as zero: there, a page may hold
/// anything.
void clear_outside(const kv::PageSlots& page, int slot, float* numbers) {
  for (int i = 0; i < kUnit; ++i) {
    if (slot + i < page.first || slot + i >= page.last) numbers[i] = 0;
  }
}

/// Weights of kQueries queries for one page and one group, rounded with scales folded in, and what
/// is added to every number of the group.
template <int kQueries>
struct GroupWeights {
  Rounded rounded;
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
QUIVER_KV_INLINE void fold(const kv::PageSlots& page, const kv::Weights& weights,
                           const std::uint16_t* parameters, int begin, int end,
                           GroupWeights<kQueries>& to, kv::PartAhead& ahead) {
  alignas(64) float folded[kQueries][kTokens];
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
    const bool is_whole = slot >= page.first && slot + kUnit <= page.last;
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const int at = slot + p * kLanes;
      const Vec scale = kv::from_f16(parameters + at);
      const Vec middle =
          kv::multiply_add(scale, kv::all(kMiddle<kBits>), kv::from_f16(parameters + kTokens + at));
      kv::store(middles + p * kLanes, middle);
#pragma GCC unroll 8
      for (int q = 0; q < kQueries; ++q) {
        const Vec weight = kv::load(weights.first + q * weights.stride + at);
        kv::store(folded[q] + at, kv::multiply(weight, scale));
        if (is_whole) sums[q][p] = kv::multiply_add(weight, middle, sums[q][p]);
      }
    }
    if (is_whole) continue;
    clear_outside(page, slot, middles);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      clear_outside(page, slot, folded[q] + slot);
      float own[kUnit];
      __builtin_memcpy(own, weights.first + q * weights.stride + slot, sizeof own);
      clear_outside(page, slot, own);
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        sums[q][p] = kv::multiply_add(kv::load(own + p * kLanes), kv::load(middles + p * kLanes),
                                      sums[q][p]);
      }
    }
  }
  float totals[kQueries];
  round_units<kBits>(folded[0] + begin, kTokens, static_cast<std::size_t>(end - begin), to.rounded,
                     totals, ahead);
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    to.extra[q] = kv::total(sums[q]) - kMiddle<kBits> * totals[q];
  }
}

/// Adds to the outputs of kQueries queries, `stride` apart, kBeside units of dimensions.
template <int kBits, int kQueries, int kBeside>
void add_values(const Words& words, const Rounded& weights, const float* extra, float* output,
                std::size_t stride, kv::PartAhead& ahead) {
  Ints sums[kQueries][kBeside][kParts];
  sum_words<kBits, Asks::most>(words, weights, ahead, sums);
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

/// Adds to the outputs of kQueries queries a page's values of one group.
template <int kBits, int kQueries>
void add_group(const Layout& layout, const Words& words, std::size_t group,
               const GroupWeights<kQueries>& weights, float* output, kv::PartAhead& ahead) {
  constexpr int kBeside = kv::units_beside(kQueries);
  constexpr std::size_t kDims = static_cast<std::size_t>(kBeside) * kUnit;
  const auto units_from = [&](std::size_t dim) {
    return Words{words.first + dim / kUnit * words.unit_words, words.unit_words, words.count};
  };
  std::size_t dim = group * layout.group;
  const std::size_t last = dim + layout.group;
  for (; dim + kDims <= last; dim += kDims) {
    add_values<kBits, kQueries, kBeside>(units_from(dim), weights.rounded, weights.extra,
                                         output + dim, layout.dims, ahead);
  }
  for (; dim + kUnit <= last; dim += kUnit) {
    add_values<kBits, kQueries, 1>(units_from(dim), weights.rounded, weights.extra, output + dim,
                                   layout.dims, ahead);
  }
  if (dim < last) {
    add_rest<kBits, kQueries>(units_from(dim), weights.rounded, weights.extra, output + dim,
                              layout.dims, last - dim, ahead);
  }
}

/// Groups whose weights are rounded before codes are read: what is found over lanes has a long way
/// to go for each, and groups overlap.
constexpr std::size_t kGroupsBeside = 4;

template <int kBits, int kQueries>
void accumulate_queries(const Layout& layout, const Head& head, const kv::PageSlots& page,
                        const kv::Weights& weights, float* output, kv::PartAhead& ahead) {
  constexpr int kCodes = 32 / kBits;
  const int begin = page.first / kUnit * kUnit;
  const int end = (page.last + kUnit - 1) / kUnit * kUnit;
  const Words words{head.values + begin / kCodes * kUnit,
                    static_cast<std::size_t>(kTokens / kCodes * kUnit),
                    static_cast<std::size_t>((end - begin) / kCodes)};
  GroupWeights<kQueries> groups[kGroupsBeside];
  for (std::size_t first = 0; first < layout.groups; first += kGroupsBeside) {
    const std::size_t left = layout.groups - first;
    const std::size_t count = left < kGroupsBeside ? left : kGroupsBeside;
    for (std::size_t g = 0; g < count; ++g) {
      fold<kBits>(page, weights, head.value_parameters + (first + g) * 2 * kTokens, begin, end,
                  groups[g], ahead);
    }
    for (std::size_t g = 0; g < count; ++g) {
      add_group<kBits>(layout, words, first + g, groups[g], output, ahead);
    }
  }
}

template <int kBits>
void accumulate_pages(const Layout& layout, const kv::AccumulateCall& call) {
  const kv::Slots& slots = call.slots;
  kv::for_pages(slots, [&](const kv::PageSlots& page, const kv::PageSlots& following) {
    kv::PartAhead ahead;
    if (following.page != nullptr) {
      ahead = {head_of(layout, following.page, slots.kv_head).values,
               layout.value_bytes + layout.parameter_bytes};
    } else if (call.next != nullptr) {
      ahead = {head_of(layout, call.next, slots.kv_head).keys,
               layout.key_bytes + layout.parameter_bytes};
    }
    const Head head = head_of(layout, page.page, slots.kv_head);
    kv::for_passes(call.query_count, [&](auto pass, int query) {
      const kv::Weights weights{
          call.weights + static_cast<std::ptrdiff_t>(query) * slots.stride + page.at, slots.stride};
      accumulate_queries<kBits, decltype(pass)::value>(
          layout, head, page, weights, call.output + static_cast<std::size_t>(query) * layout.dims,
          ahead);
    });
    ahead.take_rest();
  });
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
  const Layout layout = layout_of(format, call.slots.shape);
  if (format.key_bits == 8) return score_pages<8>(layout, call);
  score_pages<4>(layout, call);
}

void accumulate(const Format& format, const kv::AccumulateCall& call) {
  const Layout layout = layout_of(format, call.slots.shape);
  if (format.value_bits == 8) return accumulate_pages<8>(layout, call);
  accumulate_pages<4>(layout, call);
}

}  // namespace

const Kernels QUIVER_KV_TABLE = {write, scores, accumulate};

}  // namespace quiver::kv_affine
