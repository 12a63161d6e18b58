// Convolutions on codes for AVX-512 with VNNI. See code_conv.inc.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/avx512/floats.inc"
#include "core/kernels/code_conv.inc"
#include "core/kernels/x86_code_conv.inc"

struct Policy : FloatVectors, X86Codes<true> {
  using Int = __m512i;
  static constexpr int kPanels = 2;
  /// With their float totals and a unit's weights in the 32 registers.
  template <int Vectors, ActivationFormat F>
  static constexpr int kPixels = Vectors == 1                  ? 14
                                 : F == ActivationFormat::int8 ? 7
                                                               : 6;

  struct Bytes {
    Int codes;
    void load(const std::byte* p) { codes = _mm512_loadu_si512(p); }
  };
  struct Words {
    Int first;
    Int last;
    void load(const std::byte* p) {
      const Int codes = _mm512_loadu_si512(p);
      first = _mm512_and_si512(codes, _mm512_set1_epi16(0xff));
      last = _mm512_srli_epi16(codes, 8);
    }
  };
  template <ActivationFormat F>
  using Weights = std::conditional_t<F == ActivationFormat::int8, Bytes, Words>;

  static void dot(Int& sum, const Bytes& w, const std::byte* x) {
    // From the function for it g++ copies every sum to and fro, and leaves some in memory.
    const Int value = _mm512_set1_epi32(load_word(x));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w.codes), "v"(value));
  }
  static void dot(Int& sum, const Words& w, const std::byte* x) {
    sum = _mm512_dpwssd_epi32(sum, w.first, _mm512_set1_epi32(load_word(x)));
    sum = _mm512_dpwssd_epi32(sum, w.last, _mm512_set1_epi32(load_word(x + 4)));
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

const CodeConvKernels& avx512vnni_code_conv_kernels() {
  return kKernels;
}

}  // namespace quiver
