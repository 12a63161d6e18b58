// The range search of affine groups.
#include "affine.hpp"
#include "groups.hpp"
#include "parameters.hpp"

#include <array>
#include <cmath>
#include <limits>

namespace quiver::affine {
namespace {

constexpr std::array<float, 7> kFactors = {0.5F, 0.625F, 0.75F, 0.875F, 1.0F, 1.125F, 1.25F};

/// Sum of squared differences between weights and what `stored` decodes the codes to that
/// `chosen` gives them.
template <int kBits, class Sum>
[[gnu::always_inline]] inline Sum squared_error(const float* weights, std::size_t count,
                                                Parameters chosen, Parameters stored) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  std::array<Sum, kLanes> sums{};
  for (std::size_t i = 0; i < count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float weight = weights[i + lane];
      const float code = nearest_code((weight - chosen.bias) / chosen.scale, kLargestCode);
      const float decoded = stored.scale * code + stored.bias;
      const Sum off = static_cast<Sum>(weight) - static_cast<Sum>(decoded);
      sums[lane] += off * off;
    }
  }
  Sum total = 0;
  for (const Sum lane : sums) total += lane;
  return total;
}

template <int kBits>
[[gnu::always_inline]] inline Parameters search(const float* weights, std::size_t count,
                                                const Range& range) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  const float scale = std::max((range.high - range.low) / kLargestCode, 1e-7F);
  Parameters best = {scale, range.low};
  float least = squared_error<kBits, float>(weights, count, best, best);
  for (const bool is_high : {true, false}) {
    const Parameters snapped = is_high ? snap(range.high, -scale) : snap(range.low, scale);
    for (const float factor : kFactors) {
      const Parameters tried = {snapped.scale * factor, snapped.bias};
      const float error = squared_error<kBits, float>(weights, count, tried, tried);
      if (!(error < least)) continue;
      least = error;
      best = tried;
    }
  }
  return best;
}

template <int kBits>
[[gnu::always_inline]] inline EncodeResult search_groups(std::size_t group_size, DType type,
                                                         std::span<const float> weights,
                                                         const EncodedRow& row) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  std::byte* words = row.words;
  for (std::size_t first = 0; first < weights.size(); first += group_size) {
    const float* group = weights.data() + first;
    const Range range = range_of(group, group_size);
    if (!range.is_finite) return {Fault::weight_not_finite, first};
    const Parameters exact = fit(range, kLargestCode);
    const Parameters stored_exact = as_stored(type, exact);
    if (!is_finite(stored_exact)) return {Fault::parameter_overflows, first};
    Parameters chosen = search<kBits>(group, group_size, range);
    Parameters stored = as_stored(type, chosen);
    // In doubles, so that the rounding of the sums decides nothing.
    if (!is_finite(stored) ||
        !(squared_error<kBits, double>(group, group_size, chosen, stored) <=
          squared_error<kBits, double>(group, group_size, exact, stored_exact))) {
      chosen = exact;
      stored = stored_exact;
    }
    store_parameter(type, row.scales, first / group_size, stored.scale);
    store_parameter(type, row.biases, first / group_size, stored.bias);
    write_codes<kBits>(group_size, words,
                       [&](std::size_t i) { return quantize(group + i, chosen, kLargestCode); });
  }
  return {};
}

}  // namespace

QUIVER_WIDER EncodeResult search_row(const QuantFormat& format, DType parameter_type,
                                     std::span<const float> weights, const EncodedRow& row) {
  const auto group_size = static_cast<std::size_t>(format.group_size);
  return with_bits(
      format.bits, [&]<int kBits>() __attribute__((always_inline)) {
        return search_groups<kBits>(group_size, parameter_type, weights, row);
      });
}

}  // namespace quiver::affine
