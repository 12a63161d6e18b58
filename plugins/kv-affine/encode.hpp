// Rounds a token's keys and values to codes and puts them into a page.
#pragma once

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

/// Where code `index` of a word begins: neighbours 2p and 2p + 1 at bits p * kBits of its halves.
template <int kBits>
constexpr std::size_t bit_of(std::size_t index) {
  return kBits * (index / 2) + 16 * (index % 2);
}

template <int kBits>
[[gnu::always_inline]] inline std::uint32_t word_of(const std::uint8_t* codes) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 32 / kBits; ++i) {
    word |= static_cast<std::uint32_t>(codes[i]) << bit_of<kBits>(i);
  }
  return word;
}

/// Where one token of one head goes.
struct Place {
  std::uint32_t* words;  ///< Of all tokens.
  std::uint16_t* parameters;
  std::size_t slot;
};

template <int kBits>
void write_key(const Layout& layout, const Place& place, const float* key) {
  constexpr std::size_t kCodes = 32 / kBits;
  constexpr float kSteps = (1 << kBits) - 1;
  const std::size_t block = place.slot / 16, lane = place.slot % 16;
  std::uint32_t* words = place.words + block * layout.key_words * 16 + lane;
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
        *words = word_of<kBits>(codes + i);
      }
    }
  }
}

template <int kBits>
void write_value(const Layout& layout, const Place& place, const float* value) {
  constexpr std::size_t kCodes = 32 / kBits;
  constexpr float kSteps = (1 << kBits) - 1;
  constexpr std::size_t kTokens = KvStrategy::kTokens;
  const std::size_t bit = bit_of<kBits>(place.slot % kCodes);
  const std::uint32_t others = ~(((1U << kBits) - 1) << bit);
  std::uint32_t* row = place.words + place.slot / kCodes * 16;
  for (std::size_t g = 0; g < layout.groups; ++g) {
    const float* numbers = value + g * layout.group;
    const Parameters found = parameters_of(range_of(numbers, layout.group), kSteps);
    place.parameters[g * 2 * kTokens + place.slot] = found.scale;
    place.parameters[(g * 2 + 1) * kTokens + place.slot] = found.bias;
    for (std::size_t at = 0; at < layout.group; at += 16) {
      const std::size_t count = layout.group - at < 16 ? layout.group - at : 16;
      std::uint8_t codes[16] = {};
      codes_of(numbers + at, count, found, kSteps, codes);
      std::uint32_t* words = row + (g * layout.group + at) * (kTokens / kCodes);
      for (std::size_t i = 0; i < 16; ++i) {
        words[i] = (words[i] & others) | static_cast<std::uint32_t>(codes[i]) << bit;
      }
    }
  }
}

}  // namespace
}  // namespace quiver::kv_affine
