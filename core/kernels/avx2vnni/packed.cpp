// Packed kernels for AVX2 with VNNI. See packed_kernels.inc on what may stand in this file.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

// Processors with this instruction have the prefetchers of those with AVX-512: see there.
constexpr std::size_t kPrefetchBytes = 2048;
constexpr int kPrefetchRows = 4;

#include "core/kernels/x86_packed.inc"

// The test of these kernels on a machine that has only the AVX-512 form of the instruction compiles
// this file for that one.
inline __m256i dot(__m256i sum, __m256i codes, __m256i x) {
#ifdef QUIVER_VNNI_AS_AVX512
  return _mm256_dpbusd_epi32(sum, codes, x);
#else
  return _mm256_dpbusd_avx_epi32(sum, codes, x);
#endif
}

struct Policy {
  using Int = __m256i;
  using Float = __m256;
  static constexpr int kStripesAhead = 1;
  static constexpr int kLanes = 8;
  template <ActivationFormat F>
  static constexpr int kWideRows = F == ActivationFormat::int8 ? 3 : 1;
  template <ActivationFormat F>
  static constexpr int kTileRows = F == ActivationFormat::int8 ? 8 : 4;

  template <ActivationFormat>
  struct Codes {
    Int even;
    Int odd;
    Codes(Int e, Int o) : even(e), odd(o) {}
  };
  struct Sum8 {
    Int sum = _mm256_setzero_si256();
    void add(const Codes<ActivationFormat::int8>& codes, const std::byte* x) {
      sum = dot(sum, codes.even, _mm256_set1_epi32(load_word(x)));
      sum = dot(sum, codes.odd, _mm256_set1_epi32(load_word(x + 4)));
    }
    Int total() const { return sum; }
  };
  struct Sum16 {
    Int high = _mm256_setzero_si256();
    Int low = _mm256_setzero_si256();
    void add(const Codes<ActivationFormat::int16>& codes, const std::byte* x) {
      high = dot(high, codes.even, _mm256_set1_epi32(load_word(x)));
      low = dot(low, codes.even, _mm256_set1_epi32(load_word(x + 8)));
      high = dot(high, codes.odd, _mm256_set1_epi32(load_word(x + 4)));
      low = dot(low, codes.odd, _mm256_set1_epi32(load_word(x + 12)));
    }
    Int total() const { return _mm256_add_epi32(_mm256_slli_epi32(high, 8), low); }
  };
  template <ActivationFormat F>
  using Sum = std::conditional_t<F == ActivationFormat::int8, Sum8, Sum16>;

  static Int load(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const Int*>(p));
  }
  template <int Shift, unsigned Mask>
  static Int field(Int word) {
    return _mm256_and_si256(Shift == 0 ? word : _mm256_srli_epi32(word, Shift),
                            _mm256_set1_epi32(static_cast<int>(Mask)));
  }
  template <int Shift>
  static Int join(Int low, Int high) {
    return _mm256_or_si256(low, _mm256_slli_epi32(high, Shift));
  }
  static Float zero_float() { return _mm256_setzero_ps(); }
  static Float to_float(Int v) { return _mm256_cvtepi32_ps(v); }
  static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float broadcast(const float* p) { return _mm256_set1_ps(*p); }
  static Float parameters(DType type, const std::byte* p) {
    if (type == DType::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    if (type == DType::f16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static void store(float* out, int count, Float v) {
    if (count == kLanes) return _mm256_storeu_ps(out, v);
    const Int lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(out, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes), v);
  }
  static void prefetch(const std::byte* p, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(p) + i, _MM_HINT_T0);
    }
  }
  static float largest_magnitude(const float* x, int count) {
    return x86_largest_magnitude(x, count);
  }
  template <ActivationFormat F>
  static int write_span(const float* x, float inverse, std::byte* out, int stride) {
    return F == ActivationFormat::int8 ? write_int8_span(x, inverse, out, stride)
                                       : write_int16_planes(x, inverse, out, stride);
  }
};

#include "core/kernels/packed_kernels.inc"

constexpr PackedKernels kKernels = {packed_quantize<Policy>, packed_matmul<Policy, false>};
constexpr PackedKernels kKernelsAhead = {packed_quantize<Policy>, packed_matmul<Policy, true>};

}  // namespace

const PackedKernels& avx2vnni_packed_kernels(bool reads_ahead) {
  return reads_ahead ? kKernelsAhead : kKernels;
}

}  // namespace quiver
