// Rounds a token's keys and values to codes and puts them into a page.
#pragma once

#include "kv-common/codes.hpp"
#include "kv-common/halves.hpp"
#include "layout.hpp"

namespace quiver::kv_affine {
namespace {

/// Scale and bias of a group, as stored and as numbers.
struct Parameters {
  std::uint16_t scale;
  std::uint16_t bias;
};

/// Smallest and greatest number. Sixteen of each at once, so that the compiler needs no leave to
/// change an order.
struct Range {
  float low;
  float high;
  bool is_finite;
};

[[gnu::always_inline]] inline Range range_of(const float* numbers, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  float low[kLanes], high[kLanes], zero[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) low[i] = high[i] = numbers[0];
  for (std::size_t i = 0; i < kLanes; ++i) zero[i] = 0;
  std::size_t at = 0;
  for (; at + kLanes <= count; at += kLanes) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      const float number = numbers[at + i];
      low[i] = number < low[i] ? number : low[i];
      high[i] = number > high[i] ? number : high[i];
      zero[i] += number * 0.0F;  // NaN for what is not finite.
    }
  }
  for (; at < count; ++at) {
    low[0] = numbers[at] < low[0] ? numbers[at] : low[0];
    high[0] = numbers[at] > high[0] ? numbers[at] : high[0];
    zero[0] += numbers[at] * 0.0F;
  }
  Range range{low[0], high[0], zero[0] == 0};
  for (std::size_t i = 1; i < kLanes; ++i) {
    range.low = low[i] < range.low ? low[i] : range.low;
    range.high = high[i] > range.high ? high[i] : range.high;
    range.is_finite = range.is_finite && zero[i] == 0;
  }
  return range;
}

/// The scale is taken from the bias as it is stored, so that rounding the bias moves only the lower
/// end. What is not finite, or beyond float16, gives parameters that say so.
[[gnu::always_inline]] inline Parameters parameters_of(const Range& range, float steps) {
  constexpr std::uint16_t kNan = 0x7E00;
  constexpr float kMost = 65504;
  if (!range.is_finite || range.low < -kMost || range.low > kMost) return {kNan, kNan};
  const std::uint16_t bias = kv::to_f16(range.low);
  const float width = range.high - kv::finite_f16(bias);
  return {kv::to_f16(width > 0 ? width / steps : 0), bias};
}

/// Codes of `count` numbers, at most kPiece: the nearest steps.
[[gnu::always_inline]] inline void codes_of(const float* numbers, std::size_t count,
                                            const Parameters& parameters, float steps,
                                            std::uint8_t* codes) {
  constexpr std::uint16_t kInfinity = 0x7C00;
  const bool is_flat = parameters.scale == 0 || (parameters.scale & kInfinity) == kInfinity;
  const float inverse = is_flat ? 0 : 1.0F / kv::finite_f16(parameters.scale);
  const float bias = is_flat ? 0 : kv::finite_f16(parameters.bias);
  // The sum with this has the number rounded to an integer, ties to even, in its lowest bits.
  constexpr float kRounder = 0x1p23F;
  for (std::size_t i = 0; i < count; ++i) {
    float step = (numbers[i] - bias) * inverse;
    step = step > 0 ? step : 0;
    step = step < steps ? step : steps;
    const float rounded = step + kRounder;
    codes[i] = static_cast<std::uint8_t>(__builtin_bit_cast(std::uint32_t, rounded));
  }
}

/// A word of a key: neighbouring codes 2p and 2p + 1 at bits p * kBits of its two halves.
template <int kBits>
[[gnu::always_inline]] inline std::uint32_t key_word(const std::uint8_t* codes) {
  std::uint32_t word = 0;
  for (int p = 0; p < 16 / kBits; ++p) {
    word |= static_cast<std::uint32_t>(codes[2 * p]) << (kBits * p);
    word |= static_cast<std::uint32_t>(codes[2 * p + 1]) << (kBits * p + 16);
  }
  return word;
}

/// Where one token of one head goes.
struct Place {
  std::byte* codes;  ///< Of all tokens.
  std::uint16_t* parameters;
  std::size_t slot;
};

template <int kBits>
void write_key(const Layout& layout, const Place& place, const float* key) {
  constexpr std::size_t kCodes = 32 / kBits;
  constexpr float kSteps = (1 << kBits) - 1;
  const std::size_t block = place.slot / 16, lane = place.slot % 16;
  auto* words =
      reinterpret_cast<std::uint32_t*>(place.codes) + block * layout.key_words * 16 + lane;
  std::uint16_t* parameters = place.parameters + block * layout.groups * 32 + lane;
  for (std::size_t g = 0; g < layout.groups; ++g, key += layout.group) {
    const Parameters found = parameters_of(range_of(key, layout.group), kSteps);
    parameters[g * 32] = found.scale;
    parameters[g * 32 + 16] = found.bias;
    for (std::size_t at = 0; at < layout.group; at += kPiece) {
      const std::size_t count = layout.group - at < kPiece ? layout.group - at : kPiece;
      std::uint8_t codes[kPiece + kCodes] = {};
      codes_of(key + at, count, found, kSteps, codes);
      for (std::size_t i = 0; i < count; i += kCodes, words += 16) {
        *words = key_word<kBits>(codes + i);
      }
    }
  }
}

template <int kBits>
void write_value(const Layout& layout, const Place& place, const float* value) {
  constexpr float kSteps = (1 << kBits) - 1;
  constexpr std::size_t kTokens = KvStrategy::kTokens;
  std::byte* row = place.codes + place.slot * layout.value_row;
  __builtin_memset(row, 0, layout.value_row);
  for (std::size_t g = 0; g < layout.groups; ++g) {
    const float* numbers = value + g * layout.group;
    const Parameters found = parameters_of(range_of(numbers, layout.group), kSteps);
    place.parameters[g * 2 * kTokens + place.slot] = found.scale;
    place.parameters[(g * 2 + 1) * kTokens + place.slot] = found.bias;
    for (std::size_t at = 0; at < layout.group; at += kPiece) {
      const std::size_t count = layout.group - at < kPiece ? layout.group - at : kPiece;
      std::uint8_t codes[kPiece];
      codes_of(numbers + at, count, found, kSteps, codes);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t d = g * layout.group + at + i;
        if constexpr (kBits == 8) {
          row[d] = static_cast<std::byte>(codes[i]);
        } else {
          kv::put_code<kBits>(row + d / 16 * kv::unit_bytes(kBits), static_cast<int>(d % 16),
                              codes[i]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace quiver::kv_affine
