// The arithmetic of affine groups, one float32 rounding per operation.
#include "affine.hpp"

#include "bit_stream.hpp"
#include "groups.hpp"
#include "parameters.hpp"

#include <cstring>

namespace quiver::affine {
namespace {

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
    write_codes<kBits>(group_size, words, [&](std::size_t i) {
      return quantize(group_weights + i, parameters, kLargestCode);
    });
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
  return with_bits(
      format.bits, [&]<int kBits>() __attribute__((always_inline)) {
        return encode_groups<kBits>(group_size, parameter_type, weights, row);
      });
}

QUIVER_WIDER void decode_row(const QuantFormat& format, DType parameter_type,
                             const EncodedRowView& row, std::span<float> weights) {
  const auto group_size = static_cast<std::size_t>(format.group_size);
  with_bits(
      format.bits, [&]<int kBits>() __attribute__((always_inline)) {
        decode_groups<kBits>(group_size, parameter_type, row, weights);
      });
}

}  // namespace quiver::affine
