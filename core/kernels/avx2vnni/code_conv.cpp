// Convolutions on codes for AVX2 with VNNI. See code_conv.inc.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/avx2/floats.inc"
#include "core/kernels/code_conv.inc"
#include "core/kernels/x86_code_conv.inc"

// Built for the AVX-512 form of the instructions too, as avx2vnni/packed.cpp is.
inline __m256i dot_bytes(__m256i sum, __m256i codes, __m256i x) {
#ifdef QUIVER_VNNI_AS_AVX512
  return _mm256_dpbusd_epi32(sum, codes, x);
#else
  return _mm256_dpbusd_avx_epi32(sum, codes, x);
#endif
}

inline __m256i dot_words(__m256i sum, __m256i codes, __m256i x) {
#ifdef QUIVER_VNNI_AS_AVX512
  return _mm256_dpwssd_epi32(sum, codes, x);
#else
  return _mm256_dpwssd_avx_epi32(sum, codes, x);
#endif
}

struct Policy : FloatVectors, X86Codes<true> {
  using Int = __m256i;
  static constexpr int kPanels = 1;
  /// With a unit's weights and a broadcast code in the 16 registers.
  template <int, ActivationFormat F>
  static constexpr int kPixels = F == ActivationFormat::int8 ? 6 : 5;

  struct Bytes {
    Int codes;
    void load(const std::byte* p) { codes = _mm256_loadu_si256(reinterpret_cast<const Int*>(p)); }
  };
  struct Words {
    Int first;
    Int last;
    void load(const std::byte* p) {
      const Int codes = _mm256_loadu_si256(reinterpret_cast<const Int*>(p));
      first = _mm256_and_si256(codes, _mm256_set1_epi16(0xff));
      last = _mm256_srli_epi16(codes, 8);
    }
  };
  template <ActivationFormat F>
  using Weights = std::conditional_t<F == ActivationFormat::int8, Bytes, Words>;

  static void dot(Int& sum, const Bytes& w, const std::byte* x) {
    sum = dot_bytes(sum, w.codes, _mm256_set1_epi32(load_word(x)));
  }
  static void dot(Int& sum, const Words& w, const std::byte* x) {
    sum = dot_words(sum, w.first, _mm256_set1_epi32(load_word(x)));
    sum = dot_words(sum, w.last, _mm256_set1_epi32(load_word(x + 4)));
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

const CodeConvKernels& avx2vnni_code_conv_kernels() {
  return kKernels;
}

}  // namespace quiver
