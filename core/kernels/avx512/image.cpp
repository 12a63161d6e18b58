// Kernels on feature maps for AVX-512 (F, DQ). See image_kernels.inc.
#include <immintrin.h>

#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

struct Policy {
  using Float = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kPanels = 3;
  /// With the weights of a step and a broadcast input in the 32 registers.
  template <int Vectors>
  static constexpr int kPixels = Vectors == 1   ? 24
                                 : Vectors == 2 ? 14
                                                : 9;

  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static __mmask16 first(int count) {
    return count >= kLanes ? static_cast<__mmask16>(0xffff)
                           : static_cast<__mmask16>((1U << count) - 1U);
  }
  static Float load_first(const float* p, int count) {
    return _mm512_maskz_loadu_ps(first(count), p);
  }
  static void store_first(float* p, int count, Float v) {
    _mm512_mask_storeu_ps(p, first(count), v);
  }
  static Float zero() { return _mm512_setzero_ps(); }
  static Float broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Float all(float value) { return _mm512_set1_ps(value); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  /// g++ moves sums from register to register until one is left in memory, and then waits for it.
  static void keep(Float& v) { __asm__("" : "+v"(v)); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }

  /// x / (1 + 2^(n + f)) with a polynomial for 2^f, |f| <= 1/2, and the quotient by one Newton
  /// step. Below -87 the exponent stays there: a power that overflows has no step.
  static Float silu(Float x) {
    const Float bounded = _mm512_max_ps(x, _mm512_set1_ps(-87.0F));
    const Float t = _mm512_mul_ps(bounded, _mm512_set1_ps(-1.44269504088896341F));
    const Float n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Float f = _mm512_sub_ps(t, n);
    // The best of degree 5, relatively: 8e-8 beside the rounding of its steps.
    Float p = _mm512_set1_ps(1.3276472455e-3F);
    p = fma(p, f, _mm512_set1_ps(9.6755409613e-3F));
    p = fma(p, f, _mm512_set1_ps(5.5507130921e-2F));
    p = fma(p, f, _mm512_set1_ps(2.4022120237e-1F));
    p = fma(p, f, _mm512_set1_ps(6.9314694405e-1F));
    p = fma(p, f, _mm512_set1_ps(1.0F));
    const Float below = _mm512_add_ps(_mm512_scalef_ps(p, n), _mm512_set1_ps(1.0F));
    const Float guess = _mm512_rcp14_ps(below);
    const Float inverse =
        _mm512_mul_ps(guess, _mm512_fnmadd_ps(below, guess, _mm512_set1_ps(2.0F)));
    return _mm512_mul_ps(x, inverse);
  }
};

#include "core/kernels/image_kernels.inc"
#include "core/kernels/winograd_kernels.inc"

constexpr ImageKernels kKernels = {
    2,
    convolve<Policy>,
    depthwise<Policy>,
    finish<Policy>,
    {{winograd_input<Policy, WinogradByOne>, winograd_output<Policy, WinogradByOne>},
     {winograd_input<Policy, WinogradByTwo>, winograd_output<Policy, WinogradByTwo>}}};

}  // namespace

const ImageKernels& avx512_image_kernels() {
  return kKernels;
}

}  // namespace quiver
