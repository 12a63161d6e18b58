// What encoders of affine groups share: the range of a group, its exact parameters, its codes.
#pragma once

#include "bit_stream.hpp"
#include "parameters.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

// The same source for wider vectors, chosen when the library is loaded. Only the width differs: no
// operation is fused or reordered, so the bits are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define QUIVER_WIDER __attribute__((target_clones("default", "avx2")))
#else
#define QUIVER_WIDER
#endif

namespace quiver::affine {

/// Sums and minima are kept in so many lanes, in an order that compilers can vectorize and that is
/// the same for every width of vectors. Group sizes are multiples of it.
constexpr std::size_t kLanes = 16;

struct Range {
  float low;
  float high;
  bool is_finite;
};

/// Smallest and largest weight of a group. Lanes instead of one running pair, which compilers would
/// not vectorize; the order does not change a minimum.
[[gnu::always_inline]] inline Range range_of(const float* weights, std::size_t count) {
  constexpr std::uint32_t kExponent = 0x7F800000;
  std::array<float, kLanes> low;
  std::array<float, kLanes> high;
  std::array<std::uint32_t, kLanes> bad{};
  std::copy_n(weights, kLanes, low.begin());
  std::copy_n(weights, kLanes, high.begin());
  for (std::size_t i = 0; i < count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float weight = weights[i + lane];
      low[lane] = weight < low[lane] ? weight : low[lane];
      high[lane] = weight > high[lane] ? weight : high[lane];
      bad[lane] |= (std::bit_cast<std::uint32_t>(weight) & kExponent) == kExponent ? 1U : 0U;
    }
  }
  return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end()),
          std::all_of(bad.begin(), bad.end(), [](std::uint32_t b) { return b == 0; })};
}

/// Parameters with which `edge` is exact: a whole number of scales away from zero.
[[gnu::always_inline]] inline Parameters snap(float edge, float scale) {
  const float steps = std::nearbyint(edge / scale);
  if (steps == 0) return {scale, 0.0F};
  return {edge / steps, edge};
}

/// The end of the range with the larger magnitude becomes exact and gets code 0.
[[gnu::always_inline]] inline Parameters fit(const Range& range, float largest_code) {
  const float scale = std::max((range.high - range.low) / largest_code, 1e-7F);
  const bool is_low_larger = std::abs(range.low) > std::abs(range.high);
  return is_low_larger ? snap(range.low, scale) : snap(range.high, -scale);
}

/// The nearest code to each of kChunk positions on the scale of codes, as whole floats.
[[gnu::always_inline]] inline float nearest_code(float position, float largest_code) {
  // Adding and removing it rounds a float below 2^22 to a whole number, half to even.
  constexpr float kRounder = 0x1.8p23F;
  const float above = position > 0 ? position : 0.0F;
  const float bounded = above < largest_code ? above : largest_code;
  return (bounded + kRounder) - kRounder;
}

/// Codes of kChunk weights.
[[gnu::always_inline]] inline std::array<std::uint32_t, kChunk> quantize(
    const float* weights, const Parameters& parameters, float largest_code) {
  std::array<std::uint32_t, kChunk> codes;
  for (std::size_t i = 0; i < kChunk; ++i) {
    const float code =
        nearest_code((weights[i] - parameters.bias) / parameters.scale, largest_code);
    codes[i] = static_cast<std::uint32_t>(static_cast<std::int32_t>(code));
  }
  return codes;
}

/// Packs the codes of a group, made chunk by chunk by `codes_of(first)`, and moves `words` behind.
template <int kBits, class CodesOf>
[[gnu::always_inline]] inline void write_codes(std::size_t group_size, std::byte*& words,
                                               const CodesOf& codes_of) {
  for (std::size_t i = 0; i < group_size; i += kChunk) {
    const auto packed = pack<kBits>(codes_of(i));
    std::memcpy(words, packed.data(), sizeof packed);
    words += sizeof packed;
  }
}

/// Calls f.template operator()<bits>() for a width that the format has. Inlined into the clones of
/// the caller.
template <class F>
[[gnu::always_inline]] inline auto with_bits(int bits, const F& f) {
  switch (bits) {
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    case 4: return f.template operator()<4>();
    case 5: return f.template operator()<5>();
    case 6: return f.template operator()<6>();
    default: return f.template operator()<8>();
  }
}

}  // namespace quiver::affine
