// Kernels on feature maps for AVX2 with FMA. See image_kernels.inc.
#include <immintrin.h>

#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

struct Policy {
  using Float = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kPanels = 1;
  /// With the weights of a step and a broadcast input in the 16 registers.
  template <int Vectors>
  static constexpr int kPixels = 6;

  static __m256i first(int count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
  }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static Float load_first(const float* p, int count) {
    return count >= kLanes ? load(p) : _mm256_maskload_ps(p, first(count));
  }
  static void store_first(float* p, int count, Float v) {
    if (count >= kLanes) {
      _mm256_storeu_ps(p, v);
    } else {
      _mm256_maskstore_ps(p, first(count), v);
    }
  }
  static Float zero() { return _mm256_setzero_ps(); }
  static Float broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static Float all(float value) { return _mm256_set1_ps(value); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  /// g++ moves sums from register to register until one is left in memory, and then waits for it.
  static void keep(Float& v) { __asm__("" : "+x"(v)); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }

  /// x / (1 + 2^(n + f)) with the best polynomial of degree 5 for 2^f, |f| <= 1/2. Beyond 87 the
  /// exponent stays there: n is added to the bits of the power of f.
  static Float silu(Float x) {
    const Float bounded =
        _mm256_max_ps(_mm256_min_ps(_mm256_set1_ps(87.0F), x), _mm256_set1_ps(-87.0F));
    const Float t = _mm256_mul_ps(bounded, _mm256_set1_ps(-1.44269504088896341F));
    const Float n = _mm256_round_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Float f = _mm256_sub_ps(t, n);
    Float p = _mm256_set1_ps(1.3276472455e-3F);
    p = fma(p, f, _mm256_set1_ps(9.6755409613e-3F));
    p = fma(p, f, _mm256_set1_ps(5.5507130921e-2F));
    p = fma(p, f, _mm256_set1_ps(2.4022120237e-1F));
    p = fma(p, f, _mm256_set1_ps(6.9314694405e-1F));
    p = fma(p, f, _mm256_set1_ps(1.0F));
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    const Float power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
    return _mm256_div_ps(x, _mm256_add_ps(power, _mm256_set1_ps(1.0F)));
  }
};

#include "core/kernels/image_kernels.inc"
#include "core/kernels/winograd_kernels.inc"

constexpr ImageKernels kKernels = {
    1,
    convolve<Policy>,
    depthwise<Policy>,
    finish<Policy>,
    {{winograd_input<Policy, WinogradByOne>, winograd_output<Policy, WinogradByOne>},
     {winograd_input<Policy, WinogradByTwo>, winograd_output<Policy, WinogradByTwo>}}};

}  // namespace

const ImageKernels& avx2_image_kernels() {
  return kKernels;
}

}  // namespace quiver
