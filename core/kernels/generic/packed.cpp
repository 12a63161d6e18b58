// Packed kernels in plain C++, for any machine and as the measure of the others.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"
#include "core/tensor/half.hpp"

namespace quiver {
namespace {

constexpr std::size_t kPrefetchBytes = 0;
constexpr int kPrefetchRows = 1;

struct Policy {
  static constexpr int kLanes = 16;
  template <ActivationFormat F>
  static constexpr int kWideRows = 16;
  template <ActivationFormat F>
  static constexpr int kTileRows = 4;
  struct Int {
    std::uint32_t lanes[kLanes];
  };
  struct Float {
    float lanes[kLanes];
  };
  template <class T, class Function>
  static T each(const Function& function) {
    T result;
    for (int i = 0; i < kLanes; ++i) result.lanes[i] = function(i);
    return result;
  }

  template <ActivationFormat>
  struct Codes {
    Int even;
    Int odd;
    Codes(Int e, Int o) : even(e), odd(o) {}
  };
  /// Activations are `Width` bytes each, the even inputs of a chunk before the odd ones.
  template <class Activation>
  struct SumOf {
    std::int32_t sum[kLanes] = {};
    template <class C>
    void add(const C& codes, const std::byte* x) {
      Activation values[8];
      std::memcpy(values, x, sizeof(values));
      for (int lane = 0; lane < kLanes; ++lane) {
        for (int j = 0; j < 4; ++j) {
          const auto even = static_cast<std::int32_t>(codes.even.lanes[lane] >> (8 * j) & 0xff);
          const auto odd = static_cast<std::int32_t>(codes.odd.lanes[lane] >> (8 * j) & 0xff);
          sum[lane] += even * values[j] + odd * values[4 + j];
        }
      }
    }
    Int total() const {
      return each<Int>([&](int i) { return static_cast<std::uint32_t>(sum[i]); });
    }
  };
  template <ActivationFormat F>
  using Sum = SumOf<std::conditional_t<F == ActivationFormat::int8, std::int8_t, std::int16_t>>;

  static Int load(const std::byte* p) {
    Int v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  template <int Shift, unsigned Mask>
  static Int field(const Int& word) {
    return each<Int>([&](int i) { return word.lanes[i] >> Shift & Mask; });
  }
  template <int Shift>
  static Int join(const Int& low, const Int& high) {
    return each<Int>([&](int i) { return low.lanes[i] | high.lanes[i] << Shift; });
  }
  static Float zero_float() { return {}; }
  static Float to_float(const Int& v) {
    return each<Float>(
        [&](int i) { return static_cast<float>(static_cast<std::int32_t>(v.lanes[i])); });
  }
  static Float multiply(const Float& a, const Float& b) {
    return each<Float>([&](int i) { return a.lanes[i] * b.lanes[i]; });
  }
  static Float fma(const Float& a, const Float& b, const Float& c) {
    return each<Float>([&](int i) { return std::fma(a.lanes[i], b.lanes[i], c.lanes[i]); });
  }
  static Float broadcast(const float* p) {
    return each<Float>([&](int) { return *p; });
  }
  static Float parameters(DType type, const std::byte* p) {
    Float v;
    to_float_values(type, p, v.lanes);
    return v;
  }
  static void to_float_values(DType type, const std::byte* p, float* out) {
    std::uint16_t halves[kLanes];
    if (type == DType::f32) {
      std::memcpy(out, p, kLanes * sizeof(float));
      return;
    }
    std::memcpy(halves, p, sizeof(halves));
    for (int i = 0; i < kLanes; ++i) {
      out[i] = type == DType::f16 ? f16_to_f32(halves[i]) : bf16_to_f32(halves[i]);
    }
  }
  static void store(float* out, int count, const Float& v) { std::copy_n(v.lanes, count, out); }
  static void prefetch(const std::byte*, std::size_t) {}
  static float largest_magnitude(const float* x, int count) {
    // Without their sign, floats order like their bits, and what is not a number comes last.
    std::uint32_t largest = 0;
    for (int i = 0; i < count; ++i) {
      largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffU);
    }
    return std::bit_cast<float>(largest);
  }
  template <ActivationFormat F>
  static int write_span(const float* x, float inverse, std::byte* out, int stride) {
    int sum = 0;
    for (int chunk = 0; chunk < kSpan / 8; ++chunk) {
      std::conditional_t<F == ActivationFormat::int8, std::int8_t, std::int16_t> codes[8];
      for (int i = 0; i < 8; ++i) {
        const float scaled = std::nearbyint(x[8 * chunk + i] * inverse);
        // Otherwise the block has something infinite or no number in it, and a scale to match.
        const int code = std::fabs(scaled) <= kInt16Limit ? static_cast<int>(scaled) : 0;
        codes[i / 2 + i % 2 * 4] = static_cast<decltype(codes[0] + 0)>(code);
        sum += code;
      }
      std::memcpy(out + chunk * stride, codes, sizeof(codes));
    }
    return sum;
  }
};

#include "core/kernels/packed_kernels.inc"

constexpr PackedKernels kKernels = {packed_quantize<Policy>, packed_matmul<Policy, false>};

}  // namespace

const PackedKernels& generic_packed_kernels() {
  return kKernels;
}

}  // namespace quiver
