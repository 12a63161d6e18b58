// The loops over pages of turned vectors; built once for each instruction set.
#include "kernels.hpp"

#include "codebook.hpp"
#include "kv-common/halves.hpp"
#include "kv-common/loops.hpp"

namespace quiver::kv_turboquant {
namespace {

using kv::kLanes;
using kv::kMostQueries;
using kv::kParts;
using kv::kTokens;
using kv::kUnit;
using kv::Vec;

template <int kBits>
struct Codes {
  static constexpr std::size_t kUnitBytes = kv::unit_bytes(kBits);
  kv::LookUp<kBits> points;
  QUIVER_KV_INLINE void unit(const std::byte* from, Vec (&out)[kParts]) const {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) out[p] = points.values(kv::unit_codes<kBits>(from, p));
  }
};

/// The parts of one head in a page.
struct Head {
  std::byte* keys;
  std::uint16_t* key_lengths;
  std::byte* values;
  std::uint16_t* value_lengths;
};

Head head_of(const Layout& layout, const std::byte* page, int kv_head) {
  Head head{};
  head.keys =
      const_cast<std::byte*>(page) + layout.head_bytes() * static_cast<std::size_t>(kv_head);
  head.key_lengths = reinterpret_cast<std::uint16_t*>(head.keys + layout.key_bytes);
  head.values = head.keys + layout.key_bytes + 2 * kTokens;
  head.value_lengths = reinterpret_cast<std::uint16_t*>(head.values + layout.value_bytes);
  return head;
}

/// Hadamard transform, not normalized.
void hadamard(float* numbers, std::size_t count) {
  for (std::size_t half = 1; half < count; half *= 2) {
    for (std::size_t at = 0; at < count; at += 2 * half) {
      for (std::size_t i = at; i < at + half; ++i) {
        const float a = numbers[i], b = numbers[i + half];
        numbers[i] = a + b;
        numbers[i + half] = a - b;
      }
    }
  }
}

/// Multiplies by a matrix from the left, given as it is and transposed: x [odd, power].
void mix_rows(const float* matrix, const float* transposed, std::size_t odd, std::size_t power,
              float* x) {
  float mixed[kMostOdd * kUnit];
  if (power == 1) {
    for (std::size_t i = 0; i < odd; ++i) mixed[i] = 0;
    for (std::size_t j = 0; j < odd; ++j) {
      for (std::size_t i = 0; i < odd; ++i) mixed[i] += transposed[j * odd + i] * x[j];
    }
    for (std::size_t i = 0; i < odd; ++i) x[i] = mixed[i];
    return;
  }
  const std::size_t width = power < kUnit ? power : kUnit;
  for (std::size_t column = 0; column < power; column += width) {
    for (std::size_t i = 0; i < odd; ++i) {
      float* sums = mixed + i * width;
      for (std::size_t c = 0; c < width; ++c) sums[c] = 0;
      for (std::size_t j = 0; j < odd; ++j) {
        const float* row = x + j * power + column;
        for (std::size_t c = 0; c < width; ++c) sums[c] += matrix[i * odd + j] * row[c];
      }
    }
    for (std::size_t i = 0; i < odd; ++i) {
      for (std::size_t c = 0; c < width; ++c) x[i * power + column + c] = mixed[i * width + c];
    }
  }
}

void turn(const Turn& turn, float* vectors, int count) {
  const std::size_t dims = turn.odd * turn.power;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(turn.power));
  for (float* x = vectors; count > 0; --count, x += dims) {
    for (std::size_t d = 0; d < dims; ++d) x[d] *= turn.signs[d] * scale;
    for (std::size_t row = 0; row < turn.odd; ++row) hadamard(x + row * turn.power, turn.power);
    if (turn.odd > 1) mix_rows(turn.mix, turn.mix_inverse, turn.odd, turn.power, x);
  }
}

void turn_back(const Turn& turn, float* vectors, int count) {
  const std::size_t dims = turn.odd * turn.power;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(turn.power));
  for (float* x = vectors; count > 0; --count, x += dims) {
    if (turn.odd > 1) mix_rows(turn.mix_inverse, turn.mix, turn.odd, turn.power, x);
    for (std::size_t row = 0; row < turn.odd; ++row) hadamard(x + row * turn.power, turn.power);
    for (std::size_t d = 0; d < dims; ++d) x[d] *= turn.signs[d] * scale;
  }
}

/// Sixteen sums, so that the compiler needs no leave to change an order.
float length_of(const float* x, std::size_t dims) {
  float sums[kUnit] = {};
  std::size_t d = 0;
  for (; d + kUnit <= dims; d += kUnit) {
    for (std::size_t i = 0; i < kUnit; ++i) sums[i] += x[d + i] * x[d + i];
  }
  for (; d < dims; ++d) sums[0] += x[d] * x[d];
  float sum = 0;
  for (const float part : sums) sum += part;
  return __builtin_sqrtf(sum);
}

/// Codes of a vector; its length as stored. What is not finite has a length that says so.
template <int kBits>
std::uint16_t encode(const Turn& turn_by, const float* x, std::size_t dims, std::uint8_t* codes) {
  float turned[kMostDims];
  const float length = length_of(x, dims);
  const float scale = length > 0 ? __builtin_sqrtf(static_cast<float>(dims)) / length : 0;
  for (std::size_t d = 0; d < dims; ++d) turned[d] = x[d] * scale;
  turn(turn_by, turned, 1);
  for (std::size_t d = 0; d < dims; ++d) codes[d] = code_of_number<kBits>(turned[d]);
  return kv::to_f16(length);
}

template <int kBits>
void write_key(const Layout& layout, const Turn& turn_by, const Head& head, std::size_t slot,
               const float* key) {
  std::uint8_t codes[kMostDims];
  head.key_lengths[slot] = encode<kBits>(turn_by, key, layout.dims, codes);
  std::byte* unit = head.keys + slot / kUnit * layout.dims * kv::unit_bytes(kBits);
  for (std::size_t d = 0; d < layout.dims; ++d, unit += kv::unit_bytes(kBits)) {
    kv::put_code<kBits>(unit, static_cast<int>(slot % kUnit), codes[d]);
  }
}

template <int kBits>
void write_value(const Layout& layout, const Turn& turn_by, const Head& head, std::size_t slot,
                 const float* value) {
  std::uint8_t codes[kMostDims];
  head.value_lengths[slot] = encode<kBits>(turn_by, value, layout.dims, codes);
  std::byte* row = head.values + slot * layout.value_row;
  __builtin_memset(row, 0, layout.value_row);
  for (std::size_t d = 0; d < layout.dims; ++d) {
    kv::put_code<kBits>(row + d / kUnit * kv::unit_bytes(kBits), static_cast<int>(d % kUnit),
                        codes[d]);
  }
}

/// What codes are multiplied by, for the tokens of the units that the range touches.
QUIVER_KV_INLINE void find_factors(const std::uint16_t* lengths, std::size_t dims, int first,
                                   int last, float* factors) {
  const Vec scale = kv::all(1.0F / __builtin_sqrtf(static_cast<float>(dims)));
  for (int slot = first / kUnit * kUnit; slot < last; slot += kLanes) {
    kv::store(factors + slot, kv::multiply(kv::from_f16(lengths + slot), scale));
  }
}

/// The values of a page's slots.
kv::HeadValues values_of(const Layout& layout, const kv::Slots& slots, const kv::PageSlots& page) {
  return {head_of(layout, page.page, slots.kv_head).values, layout.value_row, page.first,
          page.last};
}

/// The keys of a page that is read next, if any is.
kv::ReadNext keys_next(const Layout& layout, const kv::Slots& slots, const std::byte* page) {
  if (page == nullptr) return {};
  return {{}, head_of(layout, page, slots.kv_head).keys, layout.key_bytes};
}

template <int kBits>
void score_pages(const Layout& layout, const kv::ScoresCall& call) {
  const kv::Slots& slots = call.slots;
  float entries[16];
  fill_table<kBits>(entries);
  const Codes<kBits> codes{kv::LookUp<kBits>(entries)};
  kv::ReadNext values;
  kv::for_pages(slots, [&](const kv::PageSlots& page, const kv::PageSlots& following) {
    if (values.values.values == nullptr) values.values = values_of(layout, slots, page);
    const Head head = head_of(layout, page.page, slots.kv_head);
    alignas(64) float factors[kTokens];
    find_factors(head.key_lengths, layout.dims, page.first, page.last, factors);
    const kv::HeadKeys keys{head.keys,   layout.dims * kv::unit_bytes(kBits),
                            layout.dims, page.first,
                            page.last,   factors,
                            slots.stride};
    kv::score_head(codes, keys, call.queries, call.query_count, call.scores + page.at,
                   following.page == nullptr ? values : keys_next(layout, slots, following.page));
  });
}

template <int kBits>
void accumulate_pages(const Layout& layout, const kv::AccumulateCall& call) {
  const kv::Slots& slots = call.slots;
  float entries[16];
  fill_table<kBits>(entries);
  const Codes<kBits> codes{kv::LookUp<kBits>(entries)};
  kv::for_pages(slots, [&](const kv::PageSlots& page, const kv::PageSlots& following) {
    alignas(64) float factors[kTokens];
    find_factors(head_of(layout, page.page, slots.kv_head).value_lengths, layout.dims, page.first,
                 page.last, factors);
    const kv::HeadValues values = values_of(layout, slots, page);
    const kv::ReadNext next = following.page == nullptr
                                  ? keys_next(layout, slots, call.next)
                                  : kv::ReadNext{values_of(layout, slots, following)};
    kv::PartAhead part = next.part();
    kv::for_passes(call.query_count, [&](auto pass, int query) {
      constexpr int kQueries = decltype(pass)::value;
      alignas(64) float folded[kMostQueries * kTokens];
      kv::fold_weights<kQueries>({call.weights + query * slots.stride + page.at, slots.stride},
                                 factors, page.first, page.last, folded);
      kv::add_dims<kQueries>(codes, values, layout.dims, {folded, kTokens},
                             call.output + static_cast<std::size_t>(query) * layout.dims,
                             query == 0, next, part);
    });
    part.take_rest();
  });
}

void write(const Format& format, const KvShape& shape, const Turn& key_turn, const Turn& value_turn,
           std::byte* page, int slot, const float* keys, const float* values) {
  using WriteOne = void (*)(const Layout&, const Turn&, const Head&, std::size_t, const float*);
  static constexpr WriteOne kKeys[] = {write_key<1>, write_key<2>, write_key<3>, write_key<4>};
  static constexpr WriteOne kValues[] = {write_value<1>, write_value<2>, write_value<3>,
                                         write_value<4>};
  const Layout layout = layout_of(format, shape);
  const auto token = static_cast<std::size_t>(slot);
  for (int h = 0; h < shape.kv_heads; ++h, keys += layout.dims, values += layout.dims) {
    const Head head = head_of(layout, page, h);
    kKeys[format.key_bits - 1](layout, key_turn, head, token, keys);
    kValues[format.value_bits - 1](layout, value_turn, head, token, values);
  }
}

void scores(const Format& format, const kv::ScoresCall& call) {
  const Layout layout = layout_of(format, call.slots.shape);
  switch (format.key_bits) {
    case 1: return score_pages<1>(layout, call);
    case 2: return score_pages<2>(layout, call);
    case 3: return score_pages<3>(layout, call);
    default: return score_pages<4>(layout, call);
  }
}

void accumulate(const Format& format, const kv::AccumulateCall& call) {
  const Layout layout = layout_of(format, call.slots.shape);
  switch (format.value_bits) {
    case 1: return accumulate_pages<1>(layout, call);
    case 2: return accumulate_pages<2>(layout, call);
    case 3: return accumulate_pages<3>(layout, call);
    default: return accumulate_pages<4>(layout, call);
  }
}

}  // namespace

const Kernels QUIVER_KV_TABLE = {write, scores, accumulate, turn, turn_back};

}  // namespace quiver::kv_turboquant
