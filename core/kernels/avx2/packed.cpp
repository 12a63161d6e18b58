// Packed kernels for AVX2 with FMA and F16C. See packed_kernels.inc on what may stand in this file.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

// Measured on Zen 3: 21 GB/s at this distance, 17 without.
constexpr std::size_t kPrefetchBytes = 2048;
constexpr int kPrefetchRows = 1;

#include "core/kernels/x86_packed.inc"

struct Policy {
  using Int = __m256i;
  using Float = __m256;
  static constexpr int kLanes = 8;
  template <ActivationFormat F>
  static constexpr int kWideRows = F == ActivationFormat::int8 ? 4 : 2;
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
      const Int low = _mm256_set1_epi16(0xff);
      pairs[0] = _mm256_and_si256(even, low);
      pairs[1] = _mm256_srli_epi16(even, 8);
      pairs[2] = _mm256_and_si256(odd, low);
      pairs[3] = _mm256_srli_epi16(odd, 8);
    }
  };
  template <ActivationFormat F>
  using Codes = std::conditional_t<F == ActivationFormat::int8, Bytes, Words>;

  /// A block of 32 inputs puts eight products of two into a 16-bit lane: 8 * 2 * 15 * 127 = 30480
  /// fits, so codes of up to 4 bits are widened once a block.
  struct Sum8 {
    Int sum = _mm256_setzero_si256();
    void add(const Bytes& codes, const std::byte* x) {
      add(codes.even, x);
      add(codes.odd, x + 4);
    }
    void add(Int codes, const std::byte* x) {
      const Int products = _mm256_maddubs_epi16(codes, _mm256_set1_epi32(load_word(x)));
      sum = _mm256_add_epi16(sum, products);
      pin(sum);
    }
    Int total() const { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
  };
  struct Sum16 {
    Int sum = _mm256_setzero_si256();
    void add(const Words& codes, const std::byte* x) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const Int pair = _mm256_set1_epi32(load_word(x + 4 * i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes.pairs[i], pair));
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
  static Float zero_float() {
    return _mm256_setzero_ps();
  }
  static Float to_float(Int v) {
    return _mm256_cvtepi32_ps(v);
  }
  static Float multiply(Float a, Float b) {
    return _mm256_mul_ps(a, b);
  }
  static Float fma(Float a, Float b, Float c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  static Float broadcast(const float* p) {
    return _mm256_set1_ps(*p);
  }
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
                                       : write_int16_pairs(x, inverse, out, stride);
  }
};

#include "core/kernels/packed_kernels.inc"

constexpr PackedKernels kKernels = {packed_quantize<Policy>, packed_matmul<Policy, false>};

}  // namespace

const PackedKernels& avx2_packed_kernels() {
  return kKernels;
}

}  // namespace quiver
