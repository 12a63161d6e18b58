// Kernels for AVX2 with FMA and F16C. Built with wide flags: nothing here may instantiate an inline
// function or template that another file shares, since the linker might keep this copy for all.
#include <immintrin.h>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kLanes = 8;

__m256i tail_mask(int count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
}

float sum_lanes(__m256 v) {
  const __m128 halves = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

/// How weights lie: eight of them, or the first ones of the last eight, as float32.
struct FloatWeights {
  static constexpr std::size_t kBytes = 4;
  static __m256 load(const unsigned char* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  static __m256 load_first(const unsigned char* p, int count) {
    return _mm256_maskload_ps(reinterpret_cast<const float*>(p), tail_mask(count));
  }
};
/// The first `count` halves, then zeros.
__m128i first_halves(const unsigned char* p, int count) {
  unsigned short halves[8] = {};
  __builtin_memcpy(halves, p, 2 * static_cast<unsigned>(count));
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves));
}
struct Bf16Weights {
  static constexpr std::size_t kBytes = 2;
  static __m256 wide(__m128i halves) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static __m256 load(const unsigned char* p) {
    return wide(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static __m256 load_first(const unsigned char* p, int count) {
    return wide(first_halves(p, count));
  }
};
struct F16Weights {
  static constexpr std::size_t kBytes = 2;
  static __m256 load(const unsigned char* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static __m256 load_first(const unsigned char* p, int count) {
    return _mm256_cvtph_ps(first_halves(p, count));
  }
};

/// A tile of R rows by O outputs. Each (row, output) has one chain of eight lanes over all inputs,
/// so its bits are those of any other tile shape. 4 x 3: 12 accumulators and 4 operands in 16
/// registers.
template <class Weights, int R, int O>
void tile(const float* x, std::size_t x_stride, const unsigned char* w, int inputs, float* out,
          std::size_t out_stride) {
  const std::size_t row_bytes = static_cast<std::size_t>(inputs) * Weights::kBytes;
  __m256 sums[R][O];
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) sums[r][o] = _mm256_setzero_ps();
  }
  int i = 0;
  for (; i + kLanes <= inputs; i += kLanes) {
    __m256 weights[O];
    for (int o = 0; o < O; ++o) {
      weights[o] = Weights::load(w + static_cast<std::size_t>(o) * row_bytes +
                                 static_cast<std::size_t>(i) * Weights::kBytes);
    }
    for (int r = 0; r < R; ++r) {
      const __m256 value = _mm256_loadu_ps(x + static_cast<std::size_t>(r) * x_stride + i);
      for (int o = 0; o < O; ++o) sums[r][o] = _mm256_fmadd_ps(value, weights[o], sums[r][o]);
    }
  }
  if (i < inputs) {
    const __m256i mask = tail_mask(inputs - i);
    for (int r = 0; r < R; ++r) {
      const __m256 value = _mm256_maskload_ps(x + static_cast<std::size_t>(r) * x_stride + i, mask);
      for (int o = 0; o < O; ++o) {
        const __m256 weight = Weights::load_first(w + static_cast<std::size_t>(o) * row_bytes +
                                                      static_cast<std::size_t>(i) * Weights::kBytes,
                                                  inputs - i);
        sums[r][o] = _mm256_fmadd_ps(value, weight, sums[r][o]);
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
    all_outputs<Weights, 4, 3>(x + row * x_stride, x_stride, w, outputs, inputs,
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

float bf16_value(const unsigned char* bytes) {
  const auto bits = static_cast<unsigned>(bytes[0] | (bytes[1] << 8)) << 16;
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(bits))));
}

void bf16_to_f32(const void* in, std::size_t count, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 2 * i));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(wide));
  }
  for (; i < count; ++i) out[i] = bf16_value(bytes + 2 * i);
}

void f16_to_f32(const void* in, std::size_t count, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 2 * i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
  for (; i < count; ++i) {
    const int bits = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    out[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
  }
}

void decode_eight(__m128i codes, __m256 scale, __m256 bias, float* out) {
  const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
  _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(scale, values), bias));
}

void decode_sixteen(__m128i codes, __m256 scale, __m256 bias, float* out) {
  decode_eight(codes, scale, bias, out);
  decode_eight(_mm_srli_si128(codes, 8), scale, bias, out + 8);
}

void decode_affine4(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(codes);
  const __m128i low = _mm_set1_epi8(15);
  for (int i = 0; i < columns; i += 32) {
    const __m256 scale = _mm256_set1_ps(scales[i / group_size]);
    const __m256 bias = _mm256_set1_ps(biases[i / group_size]);
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
    const __m256 scale = _mm256_set1_ps(scales[i / group_size]);
    const __m256 bias = _mm256_set1_ps(biases[i / group_size]);
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
    decode_sixteen(packed, scale, bias, out + i);
  }
}

constexpr FloatKernels kKernels = {
    matmul,     multiply<Bf16Weights>, multiply<F16Weights>, bf16_to_f32,
    f16_to_f32, decode_affine4,        decode_affine8};

}  // namespace

const FloatKernels& avx2_float_kernels() {
  return kKernels;
}

}  // namespace quiver
