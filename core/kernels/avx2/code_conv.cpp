// Convolutions on codes for AVX2 with FMA. See code_conv.inc.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/avx2/floats.inc"
#include "core/kernels/code_conv.inc"
#include "core/kernels/x86_code_conv.inc"

struct Policy : FloatVectors, X86Codes<false> {
  using Int = __m256i;
  static constexpr int kPanels = 1;
  /// With a unit's weights, a product and a broadcast code in the 16 registers.
  template <int, ActivationFormat>
  static constexpr int kPixels = 4;

  struct Words {
    Int first;
    Int last;
    void load(const std::byte* p) {
      const Int codes = _mm256_loadu_si256(reinterpret_cast<const Int*>(p));
      first = _mm256_and_si256(codes, _mm256_set1_epi16(0xff));
      last = _mm256_srli_epi16(codes, 8);
    }
  };
  template <ActivationFormat>
  using Weights = Words;

  static void add_words(Int& sum, Int weights, const std::byte* x) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, _mm256_set1_epi32(load_word(x))));
    pin(sum);
  }
  static void dot(Int& sum, const Words& w, const std::byte* x) {
    add_words(sum, w.first, x);
    add_words(sum, w.last, x + 4);
  }
  static Int zero_int() { return _mm256_setzero_si256(); }
  static Float to_float(Int v) { return _mm256_cvtepi32_ps(v); }
};

constexpr CodeConvKernels kKernels = {
    {Policy::kBytes<ActivationFormat::int8>, Policy::kBytes<ActivationFormat::int16>},
    encode_row<Policy>,
    sum_codes<Policy>,
    code_convolve<Policy>};

}  // namespace

const CodeConvKernels& avx2_code_conv_kernels() {
  return kKernels;
}

}  // namespace quiver
