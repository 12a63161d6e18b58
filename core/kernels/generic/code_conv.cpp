// Convolutions on codes in plain C++, for any machine and as the measure of the others.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/code_conv.inc"
#include "core/kernels/generic/floats.inc"

struct Policy : FloatVectors {
  static constexpr int kPanels = 1;
  template <int, ActivationFormat>
  static constexpr int kPixels = 2;
  template <ActivationFormat F>
  static constexpr int kBytes = F == ActivationFormat::int8 ? 1 : 2;
  struct Int {
    std::int32_t lanes[kLanes];
  };

  /// `Order`: where in a unit the weight of each code lies.
  template <class Code, int... Order>
  struct WeightsOf {
    std::uint8_t codes[kLanes * kUnitCodes];
    void load(const std::byte* p) { std::memcpy(codes, p, sizeof(codes)); }
    void dot(Int& sum, const std::byte* x) const {
      constexpr int kPlaces[] = {Order...};
      Code values[kUnitCodes];
      std::memcpy(values, x, sizeof(values));
      for (int lane = 0; lane < kLanes; ++lane) {
        for (int i = 0; i < kUnitCodes; ++i) {
          sum.lanes[lane] += codes[lane * kUnitCodes + kPlaces[i]] * values[i];
        }
      }
    }
  };
  template <ActivationFormat F>
  using Weights =
      std::conditional_t<F == ActivationFormat::int8, WeightsOf<std::int8_t, 0, 1, 2, 3>,
                         WeightsOf<std::int16_t, 0, 2, 1, 3>>;
  template <class W>
  static void dot(Int& sum, const W& weights, const std::byte* x) {
    weights.dot(sum, x);
  }

  static Int zero_int() { return {}; }
  static Float to_float(const Int& v) {
    float lanes[kLanes];
    std::copy_n(v.lanes, kLanes, lanes);
    return load(lanes);
  }

  static void range(const float* x, std::size_t stride, int pixels, int channels, float& low,
                    float& high) {
    bool has_none = false;
    for (int p = 0; p < pixels; ++p) {
      for (int c = 0; c < channels; ++c) {
        low = x[c] < low ? x[c] : low;
        high = x[c] > high ? x[c] : high;
        has_none = has_none || std::isnan(x[c]);
      }
      x += stride;
    }
    if (has_none) low = std::numeric_limits<float>::quiet_NaN();
  }
  template <ActivationFormat F>
  static void write(const float* x, std::size_t stride, int pixels, int channels,
                    const CodeScale& scale, std::byte* out, std::size_t out_stride) {
    using Code = std::conditional_t<F == ActivationFormat::int8, std::int8_t, std::int16_t>;
    constexpr float kLow = std::numeric_limits<Code>::min();
    for (int p = 0; p < pixels; ++p) {
      for (int c = 0; c < channels; ++c) {
        const float code = std::nearbyint(x[c] * scale.inverse) + scale.zero;
        // What is no number has the lowest code, and a factor that is none either.
        const auto value = static_cast<Code>(code > kLow ? code : kLow);
        std::memcpy(out + static_cast<std::size_t>(c) * sizeof(Code), &value, sizeof(Code));
      }
      x += stride;
      out += out_stride;
    }
  }
  template <ActivationFormat F>
  static int sum(const std::byte* x, int count) {
    int total = 0;
    for (int i = 0; i < count; ++i) {
      std::conditional_t<F == ActivationFormat::int8, std::int8_t, std::int16_t> code;
      std::memcpy(&code, x + static_cast<std::size_t>(i) * sizeof(code), sizeof(code));
      total += code;
    }
    return total;
  }
};

constexpr CodeConvKernels kKernels = {
    {Policy::kBytes<ActivationFormat::int8>, Policy::kBytes<ActivationFormat::int16>},
    encode_row<Policy>,
    sum_codes<Policy>,
    code_convolve<Policy>};

}  // namespace

const CodeConvKernels& generic_code_conv_kernels() {
  return kKernels;
}

}  // namespace quiver
