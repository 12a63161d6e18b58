// The loops over pages of affine codes; built once for each instruction set.
#include "kernels.hpp"

#include "encode.hpp"
#include "kv-common/loops.hpp"

namespace quiver::kv_affine {
namespace {

using kv::Ints;
using kv::kBlocks;
using kv::kLanes;
using kv::kMostQueries;
using kv::kParts;
using kv::kTokens;
using kv::kUnit;
using kv::Vec;

/// Values of 8 bits, without scale and bias.
struct Codes8 {
  static constexpr std::size_t kUnitBytes = kv::unit_bytes(8);
  QUIVER_KV_INLINE void unit(const std::byte* from, Vec (&out)[kParts]) const {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) out[p] = kv::from_u8(from + p * kLanes);
  }
};

/// Values of 4 bits, without scale and bias.
struct Codes4 {
  static constexpr std::size_t kUnitBytes = kv::unit_bytes(4);
  QUIVER_KV_INLINE void unit(const std::byte* from, Vec (&out)[kParts]) const {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) out[p] = kv::from_u4(from, p);
  }
};

/// The parts of one head in a page.
struct Head {
  std::byte* keys;
  std::uint16_t* key_parameters;
  std::byte* values;
  std::uint16_t* value_parameters;
};

Head head_of(const Layout& layout, const std::byte* page, int kv_head) {
  auto* at = const_cast<std::byte*>(page) + layout.head_bytes() * static_cast<std::size_t>(kv_head);
  Head head{};
  head.keys = at;
  head.key_parameters = reinterpret_cast<std::uint16_t*>(at + layout.key_bytes);
  head.values = at + layout.key_bytes + layout.parameter_bytes;
  head.value_parameters = reinterpret_cast<std::uint16_t*>(head.values + layout.value_bytes);
  return head;
}

/// Pieces of some queries as 16-bit numbers, each with what its numbers are multiples of.
struct RoundedQueries {
  alignas(64) std::int16_t codes[kMostQueries][kPiece];
  float step[kMostQueries];
  float total[kMostQueries];  ///< Sum of the numbers as rounded.
};

/// Rounds `count` numbers, and fills the codes up with zeros to a multiple of 16.
void round_query(const float* query, std::size_t count, RoundedQueries& to, int index) {
  alignas(64) float last[kUnit] = {};
  const std::size_t whole = count / kUnit * kUnit;
  __builtin_memcpy(last, query + whole, (count - whole) * sizeof(float));
  const auto unit_at = [&](std::size_t i) { return i < whole ? query + i : last; };
  Vec most = kv::zeros();
  for (std::size_t i = 0; i < count; i += kUnit) {
    for (int p = 0; p < kParts; ++p) {
      most = kv::greater_magnitude(most, kv::load(unit_at(i) + p * kLanes));
    }
  }
  const float magnitude = kv::greatest(most);
  constexpr float kLargest = 32767;
  const Vec inverse = kv::all(magnitude > 1e-30F ? kLargest / magnitude : 0);
  Ints sums = kv::zero_ints();
  for (std::size_t i = 0; i < count; i += kUnit) {
    sums = kv::round_unit(unit_at(i), inverse, to.codes[index] + i, sums);
  }
  to.step[index] = magnitude / kLargest;
  to.total[index] = static_cast<float>(kv::total(sums)) * to.step[index];
}

/// One piece of the keys of some blocks.
struct Piece {
  const std::uint32_t* words;  ///< Of the first block.
  std::size_t block_words;
  std::size_t count;  ///< Words of a token.
  const std::uint16_t* parameters;
  std::size_t block_parameters;
  bool is_first;  ///< Starts the scores.
};

/// Adds to each sum the products of one pair of a word's codes with the same pair of its query. The
/// word is read for each pair anew, since eight lanes leave no registers to hold it.
template <int kBits, int kPair, int kQueries, int kBeside>
QUIVER_KV_INLINE void add_pair(const std::uint32_t* words, std::size_t block_words,
                               const std::int16_t* codes, Ints (&sums)[kQueries][kBeside][kParts]) {
  Ints keys[kBeside][kParts];
#pragma GCC unroll 8
  for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const std::uint32_t* from = words + static_cast<std::size_t>(b) * block_words + p * kLanes;
      keys[b][p] = kv::code_pairs<kBits, kPair>(kv::load_ints(from));
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    const Ints query = kv::all_pairs(codes + q * static_cast<int>(kPiece) + 2 * kPair);
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        sums[q][b][p] = kv::dot_pairs(sums[q][b][p], keys[b][p], query);
        kv::keep(sums[q][b][p]);
      }
    }
  }
}

/// Adds sums of integers, with scales and biases, to scores, or starts them.
template <int kQueries, int kBeside>
QUIVER_KV_INLINE void add_scores(const Piece& piece, const RoundedQueries& queries,
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
        kv::store(score, kv::multiply_add(bias, kv::all(queries.total[q]), sum));
      }
    }
  }
}

/// Adds a piece's part to the scores of kQueries queries and the tokens of kBeside blocks.
template <int kBits, int kQueries, int kBeside>
void add_piece(const Piece& piece, const RoundedQueries& queries, float* scores,
               kv::ReadAhead& ahead) {
  constexpr int kPairs = 16 / kBits;
  Ints sums[kQueries][kBeside][kParts];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int b = 0; b < kBeside; ++b) {
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) sums[q][b][p] = kv::zero_ints();
    }
  }
  kv::ReadAhead next = ahead;
  const std::int16_t* codes = queries.codes[0];
  const std::uint32_t* from = piece.words;
#pragma GCC unroll 1
  for (std::size_t w = 0; w < piece.count; ++w, codes += 2 * kPairs, from += kUnit) {
    next.take<kBeside * kUnit * sizeof(std::uint32_t)>();
    add_pair<kBits, 0>(from, piece.block_words, codes, sums);
    add_pair<kBits, 1>(from, piece.block_words, codes, sums);
    if constexpr (kPairs == 4) {
      add_pair<kBits, 2>(from, piece.block_words, codes, sums);
      add_pair<kBits, 3>(from, piece.block_words, codes, sums);
    }
  }
  ahead = next;
  add_scores(piece, queries, sums, scores);
}

/// Where the piece from dimension `at` and word `word` on begins in a block.
void place(const Layout& layout, const Head& head, std::size_t at, std::size_t word, int block,
           Piece& piece) {
  const auto b = static_cast<std::size_t>(block);
  piece.words =
      reinterpret_cast<const std::uint32_t*>(head.keys) + b * piece.block_words + word * kUnit;
  piece.parameters =
      head.key_parameters + b * piece.block_parameters + at / layout.group * 2 * kUnit;
}

template <int kBits, int kQueries>
void score_queries(const Layout& layout, const Head& head, const kv::ScoresCall& call, int query,
                   kv::ReadAhead& ahead) {
  constexpr std::size_t kCodes = 32 / kBits;
  constexpr int kBeside = kv::units_beside(kQueries);
  const int end = (call.last + kUnit - 1) / kUnit;
  float scores[kQueries * kTokens];
  RoundedQueries rounded;
  const float* queries = call.queries + static_cast<std::size_t>(query) * layout.dims;
  Piece piece{};
  piece.block_words = layout.key_words * kUnit;
  piece.block_parameters = layout.groups * 2 * kUnit;
  std::size_t word = 0;
  for (std::size_t at = 0, count = 0; at < layout.dims; at += count, word += piece.count) {
    const std::size_t left = layout.group - at % layout.group;
    count = left < kPiece ? left : kPiece;
    piece.count = (count + kCodes - 1) / kCodes;
    piece.is_first = at == 0;
    for (int q = 0; q < kQueries; ++q) {
      round_query(queries + static_cast<std::size_t>(q) * layout.dims + at, count, rounded, q);
    }
    int block = call.first / kUnit;
    for (; block + kBeside <= end; block += kBeside) {
      place(layout, head, at, word, block, piece);
      add_piece<kBits, kQueries, kBeside>(piece, rounded, scores + block * kUnit, ahead);
    }
    for (; block < end; ++block) {
      place(layout, head, at, word, block, piece);
      add_piece<kBits, kQueries, 1>(piece, rounded, scores + block * kUnit, ahead);
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    float* to = call.scores + static_cast<std::size_t>(query + q) * kTokens;
    __builtin_memcpy(to + call.first, scores + q * kTokens + call.first,
                     static_cast<std::size_t>(call.last - call.first) * sizeof(float));
  }
}

template <int kBits>
void score_page(const Layout& layout, const kv::ScoresCall& call) {
  if (call.first >= call.last) return;
  const Head head = head_of(layout, call.page, call.kv_head);
  // What is wanted next are the values of the same tokens.
  kv::ReadAhead ahead{head.values, layout.value_bytes + layout.parameter_bytes};
  kv::for_passes(call.query_count, [&](auto pass, int query) {
    score_queries<kBits, decltype(pass)::value>(layout, head, call, query, ahead);
  });
  ahead.take_rest();
}

/// Weights with scales folded in, and what the biases add to every number.
struct FoldedWeights {
  float weights[kMostQueries][kTokens];
  float extra[kMostQueries];
};

/// Sixteen numbers from `slot` on, those outside the range as zero: there, a page may hold
/// anything.
void clear_outside(const kv::AccumulateCall& call, int slot, float* numbers) {
  for (int i = 0; i < kUnit; ++i) {
    if (slot + i < call.first || slot + i >= call.last) numbers[i] = 0;
  }
}

/// The biases' part has sixteen sums that are added in pairs, whatever the instruction set; weights
/// of zero do not change it.
QUIVER_KV_INLINE float fold_query(const kv::AccumulateCall& call, const float* weights,
                                  const std::uint16_t* parameters, float* folded) {
  Vec sums[kParts];
#pragma GCC unroll 8
  for (int p = 0; p < kParts; ++p) sums[p] = kv::zeros();
  for (int slot = call.first / kUnit * kUnit; slot < call.last; slot += kUnit) {
    Vec weight[kParts], bias[kParts];
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const int at = slot + p * kLanes;
      weight[p] = kv::load(weights + at);
      bias[p] = kv::from_f16(parameters + kTokens + at);
      kv::store(folded + at, kv::multiply(weight[p], kv::from_f16(parameters + at)));
    }
    if (slot < call.first || slot + kUnit > call.last) {
      float numbers[2][kUnit];
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        kv::store(numbers[0] + p * kLanes, weight[p]);
        kv::store(numbers[1] + p * kLanes, bias[p]);
      }
      for (auto& own : numbers) clear_outside(call, slot, own);
#pragma GCC unroll 8
      for (int p = 0; p < kParts; ++p) {
        weight[p] = kv::load(numbers[0] + p * kLanes);
        bias[p] = kv::load(numbers[1] + p * kLanes);
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) sums[p] = kv::multiply_add(weight[p], bias[p], sums[p]);
  }
  alignas(64) float lanes[kUnit];
#pragma GCC unroll 8
  for (int p = 0; p < kParts; ++p) kv::store(lanes + p * kLanes, sums[p]);
  for (int half = kUnit / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

template <class Codec>
void accumulate_page(const Layout& layout, const kv::AccumulateCall& call) {
  if (call.first >= call.last) return;
  const Head head = head_of(layout, call.page, call.kv_head);
  const kv::HeadValues values{head.values, layout.value_row, call.first, call.last};
  kv::ReadAhead ahead{};
  if (call.next != nullptr) {
    ahead = {head_of(layout, call.next, call.kv_head).keys,
             layout.key_bytes + layout.parameter_bytes};
  }
  kv::for_passes(call.query_count, [&](auto pass, int query) {
    constexpr int kQueries = decltype(pass)::value;
    const auto q = static_cast<std::size_t>(query);
    FoldedWeights folded;
    for (std::size_t g = 0; g < layout.groups; ++g) {
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        folded.extra[i] =
            fold_query(call, call.weights + (q + static_cast<std::size_t>(i)) * kTokens,
                       head.value_parameters + g * 2 * kTokens, folded.weights[i]);
      }
      kv::add_dims<kQueries>(Codec{}, values, g * layout.group, (g + 1) * layout.group,
                             folded.weights[0], folded.extra, call.output + q * layout.dims,
                             layout.dims, ahead);
    }
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
  if (format.value_bits == 8) return accumulate_page<Codes8>(layout, call);
  accumulate_page<Codes4>(layout, call);
}

}  // namespace

const Kernels QUIVER_KV_TABLE = {write, scores, accumulate};

}  // namespace quiver::kv_affine
