// Convolutions on codes for AVX-512 (F, BW, DQ). See code_conv.inc.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/avx512/floats.inc"
#include "core/kernels/code_conv.inc"
#include "core/kernels/x86_code_conv.inc"

struct Policy : FloatVectors, X86Codes<false> {
  using Int = __m512i;
  static constexpr int kPanels = 2;
  /// With their float totals, a unit's weights and a product in the 32 registers.
  template <int Vectors, ActivationFormat>
  static constexpr int kPixels = Vectors == 1 ? 12 : 6;

  struct Words {
    Int first;
    Int last;
    void load(const std::byte* p) {
      const Int codes = _mm512_loadu_si512(p);
      first = _mm512_and_si512(codes, _mm512_set1_epi16(0xff));
      last = _mm512_srli_epi16(codes, 8);
    }
  };
  template <ActivationFormat>
  using Weights = Words;

  static void add_words(Int& sum, Int weights, const std::byte* x) {
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(weights, _mm512_set1_epi32(load_word(x))));
    pin(sum);
  }
  static void dot(Int& sum, const Words& w, const std::byte* x) {
    add_words(sum, w.first, x);
    add_words(sum, w.last, x + 4);
  }
  static Int zero_int() { return _mm512_setzero_si512(); }
  static Float to_float(Int v) { return _mm512_cvtepi32_ps(v); }
};

constexpr CodeConvKernels kKernels = {
    {Policy::kBytes<ActivationFormat::int8>, Policy::kBytes<ActivationFormat::int16>},
    encode_row<Policy>,
    sum_codes<Policy>,
    code_convolve<Policy>};

}  // namespace

const CodeConvKernels& avx512_code_conv_kernels() {
  return kKernels;
}

}  // namespace quiver
