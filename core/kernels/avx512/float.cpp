// Kernels for AVX-512 (F, BW, DQ, VL). Built with wide flags: nothing here may instantiate an
// inline function or template that another file shares, since the linker might keep this copy for
// all.
#include <immintrin.h>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kLanes = 16;

__mmask16 tail_mask(int count) {
  return static_cast<__mmask16>((1U << count) - 1U);
}

float sum_lanes(__m512 v) {
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 quarters =
      _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  const __m128 pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

/// How weights lie: sixteen of them, or the first ones of the last sixteen, as float32.
struct FloatWeights {
  static constexpr std::size_t kBytes = 4;
  static __m512 load(const unsigned char* p) { return _mm512_loadu_ps(p); }
  static __m512 load_first(const unsigned char* p, __mmask16 mask) {
    return _mm512_maskz_loadu_ps(mask, p);
  }
};
struct Bf16Weights {
  static constexpr std::size_t kBytes = 2;
  static __m512 wide(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static __m512 load(const unsigned char* p) {
    return wide(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load_first(const unsigned char* p, __mmask16 mask) {
    return wide(_mm256_maskz_loadu_epi16(mask, p));
  }
};
struct F16Weights {
  static constexpr std::size_t kBytes = 2;
  static __m512 load(const unsigned char* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load_first(const unsigned char* p, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
  }
};

/// A tile of R rows by O outputs. Each (row, output) has one chain of sixteen lanes over all
/// inputs, so its bits are those of any other tile shape. 4 x 6: 24 accumulators and 7 operands in
/// 32 registers.
template <class Weights, int R, int O>
void tile(const float* x, std::size_t x_stride, const unsigned char* w, int inputs, float* out,
          std::size_t out_stride) {
  const std::size_t row_bytes = static_cast<std::size_t>(inputs) * Weights::kBytes;
  __m512 sums[R][O];
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) sums[r][o] = _mm512_setzero_ps();
  }
  int i = 0;
  for (; i + kLanes <= inputs; i += kLanes) {
    __m512 weights[O];
    for (int o = 0; o < O; ++o) {
      weights[o] = Weights::load(w + static_cast<std::size_t>(o) * row_bytes +
                                 static_cast<std::size_t>(i) * Weights::kBytes);
    }
    for (int r = 0; r < R; ++r) {
      const __m512 value = _mm512_loadu_ps(x + static_cast<std::size_t>(r) * x_stride + i);
      for (int o = 0; o < O; ++o) sums[r][o] = _mm512_fmadd_ps(value, weights[o], sums[r][o]);
    }
  }
  if (i < inputs) {
    const __mmask16 mask = tail_mask(inputs - i);
    for (int r = 0; r < R; ++r) {
      const __m512 value =
          _mm512_maskz_loadu_ps(mask, x + static_cast<std::size_t>(r) * x_stride + i);
      for (int o = 0; o < O; ++o) {
        const __m512 weight = Weights::load_first(w + static_cast<std::size_t>(o) * row_bytes +
                                                      static_cast<std::size_t>(i) * Weights::kBytes,
                                                  mask);
        sums[r][o] = _mm512_fmadd_ps(value, weight, sums[r][o]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      out[static_cast<std::size_t>(r) * out_stride + static_cast<std::size_t>(o)] =
          sum_lanes(sums[r][o]);
    }
  }
}

template <class Weights, int R, int O>
void all_outputs(const float* x, std::size_t x_stride, const unsigned char* w, int outputs,
                 int inputs, float* out, std::size_t out_stride) {
  const std::size_t row_bytes = static_cast<std::size_t>(inputs) * Weights::kBytes;
  int o = 0;
  for (; o + O <= outputs; o += O) {
    tile<Weights, R, O>(x, x_stride, w + static_cast<std::size_t>(o) * row_bytes, inputs, out + o,
                        out_stride);
  }
  for (; o < outputs; ++o) {
    tile<Weights, R, 1>(x, x_stride, w + static_cast<std::size_t>(o) * row_bytes, inputs, out + o,
                        out_stride);
  }
}

template <class Weights>
void multiply(const float* x, std::size_t x_stride, int rows, const void* weights, int outputs,
              int inputs, float* out, std::size_t out_stride) {
  const auto* w = static_cast<const unsigned char*>(weights);
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    const auto row = static_cast<std::size_t>(r);
    all_outputs<Weights, 4, 6>(x + row * x_stride, x_stride, w, outputs, inputs,
                               out + row * out_stride, out_stride);
  }
  // One row alone needs eight chains to hide the latency of FMA.
  for (; r < rows; ++r) {
    const auto row = static_cast<std::size_t>(r);
    all_outputs<Weights, 1, 8>(x + row * x_stride, x_stride, w, outputs, inputs,
                               out + row * out_stride, out_stride);
  }
}

void matmul(const float* x, std::size_t x_stride, int rows, const float* w, int outputs, int inputs,
            float* out, std::size_t out_stride) {
  multiply<FloatWeights>(x, x_stride, rows, w, outputs, inputs, out, out_stride);
}

void bf16_to_f32(const void* in, std::size_t count, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  for (std::size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = count - i >= 16 ? 0xffff : tail_mask(static_cast<int>(count - i));
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, bytes + 2 * i);
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_castsi512_ps(wide));
  }
}

void f16_to_f32(const void* in, std::size_t count, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  for (std::size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = count - i >= 16 ? 0xffff : tail_mask(static_cast<int>(count - i));
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, bytes + 2 * i);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_cvtph_ps(halves));
  }
}

void decode_sixteen(__m128i codes, __m512 scale, __m512 bias, float* out) {
  const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
  _mm512_storeu_ps(out, _mm512_add_ps(_mm512_mul_ps(scale, values), bias));
}

void decode_affine4(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(codes);
  const __m128i low = _mm_set1_epi8(15);
  for (int i = 0; i < columns; i += 32) {
    const __m512 scale = _mm512_set1_ps(scales[i / group_size]);
    const __m512 bias = _mm512_set1_ps(biases[i / group_size]);
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i / 2));
    const __m128i even = _mm_and_si128(packed, low);
    const __m128i odd = _mm_and_si128(_mm_srli_epi16(packed, 4), low);
    decode_sixteen(_mm_unpacklo_epi8(even, odd), scale, bias, out + i);
    decode_sixteen(_mm_unpackhi_epi8(even, odd), scale, bias, out + i + 16);
  }
}

void decode_affine8(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(codes);
  for (int i = 0; i < columns; i += 16) {
    const __m512 scale = _mm512_set1_ps(scales[i / group_size]);
    const __m512 bias = _mm512_set1_ps(biases[i / group_size]);
    decode_sixteen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i)), scale, bias,
                   out + i);
  }
}

constexpr FloatKernels kKernels = {
    matmul,     multiply<Bf16Weights>, multiply<F16Weights>, bf16_to_f32,
    f16_to_f32, decode_affine4,        decode_affine8};

}  // namespace

const FloatKernels& avx512_float_kernels() {
  return kKernels;
}

}  // namespace quiver
