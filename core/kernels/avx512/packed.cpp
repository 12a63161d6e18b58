// Packed kernels for AVX-512 (F, BW, DQ, VL). See packed_kernels.inc on what may stand in this
// file.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

// Measured on Zen 4. One row: 33 GB/s without prefetching, 30 with any distance. Eight rows of
// int16: 75 % of the arithmetic limit without, 88 % with.
constexpr std::size_t kPrefetchBytes = 2048;
constexpr int kPrefetchRows = 4;

#include "core/kernels/x86_packed.inc"

struct Policy {
  using Int = __m512i;
  using Float = __m512;
  static constexpr int kStripesAhead = 4;
  static constexpr int kLanes = 16;
  template <ActivationFormat F>
  static constexpr int kWideRows = 16;
  template <ActivationFormat F>
  static constexpr int kTileRows = 8;

  struct Bytes {
    Int even;
    Int odd;
    Bytes(Int e, Int o) : even(e), odd(o) {}
  };
  /// Codes of inputs (0, 4), (2, 6), (1, 5), (3, 7) of a chunk as 16-bit pairs.
  struct Words {
    Int pairs[4];
    Words(Int even, Int odd) {
      const Int low = _mm512_set1_epi16(0xff);
      pairs[0] = _mm512_and_si512(even, low);
      pairs[1] = _mm512_srli_epi16(even, 8);
      pairs[2] = _mm512_and_si512(odd, low);
      pairs[3] = _mm512_srli_epi16(odd, 8);
    }
  };
  template <ActivationFormat F>
  using Codes = std::conditional_t<F == ActivationFormat::int8, Bytes, Words>;

  /// A block of 32 inputs puts eight products of two into a 16-bit lane: 8 * 2 * 15 * 127 = 30480
  /// fits, so codes of up to 4 bits are widened once a block.
  struct Sum8 {
    Int sum = _mm512_setzero_si512();
    void add(const Bytes& codes, const std::byte* x) {
      add(codes.even, x);
      add(codes.odd, x + 4);
    }
    void add(Int codes, const std::byte* x) {
      const Int products = _mm512_maddubs_epi16(codes, _mm512_set1_epi32(load_word(x)));
      sum = _mm512_add_epi16(sum, products);
      pin(sum);
    }
    Int total() const { return _mm512_madd_epi16(sum, _mm512_set1_epi16(1)); }
  };
  struct Sum16 {
    Int sum = _mm512_setzero_si512();
    void add(const Words& codes, const std::byte* x) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const Int pair = _mm512_set1_epi32(load_word(x + 4 * i));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(codes.pairs[i], pair));
        pin(sum);
      }
    }
    Int total() const {
      return sum;
    }
  };
  template <ActivationFormat F>
  using Sum = std::conditional_t<F == ActivationFormat::int8, Sum8, Sum16>;

  static Int load(const std::byte* p) {
    return _mm512_loadu_si512(p);
  }
  template <int Shift, unsigned Mask>
  static Int field(Int word) {
    return _mm512_and_si512(Shift == 0 ? word : _mm512_srli_epi32(word, Shift),
                            _mm512_set1_epi32(static_cast<int>(Mask)));
  }
  template <int Shift>
  static Int join(Int low, Int high) {
    return _mm512_or_si512(low, _mm512_slli_epi32(high, Shift));
  }
  static Float zero_float() {
    return _mm512_setzero_ps();
  }
  static Float to_float(Int v) {
    return _mm512_cvtepi32_ps(v);
  }
  static Float multiply(Float a, Float b) {
    return _mm512_mul_ps(a, b);
  }
  static Float fma(Float a, Float b, Float c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  static Float broadcast(const float* p) {
    return _mm512_set1_ps(*p);
  }
  static Float parameters(DType type, const std::byte* p) {
    if (type == DType::f32) return _mm512_loadu_ps(p);
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    if (type == DType::f16) return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static void store(float* out, int count, Float v) {
    _mm512_mask_storeu_ps(out, static_cast<__mmask16>((1U << count) - 1U), v);
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
                                       : write_int16_pairs(x, inverse, out, stride);
  }
};

#include "core/kernels/packed_kernels.inc"

constexpr PackedKernels kKernels = {packed_quantize<Policy>, packed_matmul<Policy, false>};
constexpr PackedKernels kKernelsAhead = {packed_quantize<Policy>, packed_matmul<Policy, true>};

}  // namespace

const PackedKernels& avx512_packed_kernels(bool reads_ahead) {
  return reads_ahead ? kKernelsAhead : kKernels;
}

}  // namespace quiver
