// The arithmetic of affine groups, one float32 rounding per operation.
#include "affine.hpp"

#include "bit_stream.hpp"
#include "parameters.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

// The same source for wider vectors, chosen when the library is loaded. Only the width differs: no
// operation is fused or reordered, so the bits are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define QUIVER_WIDER __attribute__((target_clones("default", "avx2")))
#else
#define QUIVER_WIDER
#endif

namespace quiver::affine {
namespace {

struct Range {
  float low;
  float high;
  bool is_finite;
};

/// Smallest and largest weight of a group. Lanes instead of one running pair, which compilers would
/// not vectorize; the order does not change a minimum.
[[gnu::always_inline]] inline Range range_of(const float* weights, std::size_t count) {
  constexpr std::size_t kLanes = 16;
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

struct Parameters {
  float scale;
  float bias;
};

/// The end of the range with the larger magnitude becomes exact and gets code 0.
[[gnu::always_inline]] inline Parameters fit(const Range& range, float largest_code) {
  float scale = std::max((range.high - range.low) / largest_code, 1e-7F);
  float edge = range.low;
  if (!(std::abs(range.low) > std::abs(range.high))) {
    edge = range.high;
    scale = -scale;
  }
  const float steps = std::nearbyint(edge / scale);
  if (steps == 0) return {scale, 0.0F};
  return {edge / steps, edge};
}

/// Codes of kChunk weights.
[[gnu::always_inline]] inline std::array<std::uint32_t, kChunk> quantize(
    const float* weights, const Parameters& parameters, float largest_code) {
  // Adding and removing it rounds a float below 2^22 to a whole number, half to even.
  constexpr float kRounder = 0x1.8p23F;
  std::array<std::uint32_t, kChunk> codes;
  for (std::size_t i = 0; i < kChunk; ++i) {
    const float code = (weights[i] - parameters.bias) / parameters.scale;
    const float above = code > 0 ? code : 0.0F;
    const float bounded = above < largest_code ? above : largest_code;
    const float rounded = (bounded + kRounder) - kRounder;
    codes[i] = static_cast<std::uint32_t>(static_cast<std::int32_t>(rounded));
  }
  return codes;
}

template <int kBits>
[[gnu::always_inline]] inline EncodeResult encode_groups(std::size_t group_size, DType type,
                                                         std::span<const float> weights,
                                                         const EncodedRow& row) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  std::byte* words = row.words;
  for (std::size_t first = 0; first < weights.size(); first += group_size) {
    const float* group_weights = weights.data() + first;
    const Range range = range_of(group_weights, group_size);
    if (!range.is_finite) return {Fault::weight_not_finite, first};
    const Parameters parameters = fit(range, kLargestCode);
    const std::size_t group = first / group_size;
    const bool is_scale_finite = store_parameter(type, row.scales, group, parameters.scale);
    const bool is_bias_finite = store_parameter(type, row.biases, group, parameters.bias);
    if (!is_scale_finite || !is_bias_finite) return {Fault::parameter_overflows, first};
    for (std::size_t i = 0; i < group_size; i += kChunk) {
      const auto packed = pack<kBits>(quantize(group_weights + i, parameters, kLargestCode));
      std::memcpy(words, packed.data(), sizeof packed);
      words += sizeof packed;
    }
  }
  return {};
}

template <int kBits>
[[gnu::always_inline]] inline void decode_groups(std::size_t group_size, DType type,
                                                 const EncodedRowView& row,
                                                 std::span<float> weights) {
  const std::byte* words = row.words;
  for (std::size_t first = 0; first < weights.size(); first += group_size) {
    const float scale = load_parameter(type, row.scales, first / group_size);
    const float bias = load_parameter(type, row.biases, first / group_size);
    for (std::size_t i = first; i < first + group_size; i += kChunk) {
      Words<kBits> packed;
      std::memcpy(packed.data(), words, sizeof packed);
      words += sizeof packed;
      const auto codes = unpack<kBits>(packed);
      for (std::size_t k = 0; k < kChunk; ++k) {
        weights[i + k] = scale * static_cast<float>(static_cast<std::int32_t>(codes[k])) + bias;
      }
    }
  }
}

}  // namespace

QUIVER_WIDER EncodeResult encode_row(const QuantFormat& format, DType parameter_type,
                                     std::span<const float> weights, const EncodedRow& row) {
  const auto group_size = static_cast<std::size_t>(format.group_size);
  switch (format.bits) {
    case 2: return encode_groups<2>(group_size, parameter_type, weights, row);
    case 3: return encode_groups<3>(group_size, parameter_type, weights, row);
    case 4: return encode_groups<4>(group_size, parameter_type, weights, row);
    case 5: return encode_groups<5>(group_size, parameter_type, weights, row);
    case 6: return encode_groups<6>(group_size, parameter_type, weights, row);
    default: return encode_groups<8>(group_size, parameter_type, weights, row);
  }
}

QUIVER_WIDER void decode_row(const QuantFormat& format, DType parameter_type,
                             const EncodedRowView& row, std::span<float> weights) {
  const auto group_size = static_cast<std::size_t>(format.group_size);
  switch (format.bits) {
    case 2: return decode_groups<2>(group_size, parameter_type, row, weights);
    case 3: return decode_groups<3>(group_size, parameter_type, row, weights);
    case 4: return decode_groups<4>(group_size, parameter_type, row, weights);
    case 5: return decode_groups<5>(group_size, parameter_type, row, weights);
    case 6: return decode_groups<6>(group_size, parameter_type, row, weights);
    default: return decode_groups<8>(group_size, parameter_type, row, weights);
  }
}

}  // namespace quiver::affine
