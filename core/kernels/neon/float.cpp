// Kernels in float32 for NEON, which every processor of this architecture has.
#include <arm_neon.h>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kLanes = 4;

/// The first `count` < 4 values, then zeros.
float32x4_t load_first(const float* p, int count) {
  float lanes[kLanes] = {};
  for (int i = 0; i < count; ++i) lanes[i] = p[i];
  return vld1q_f32(lanes);
}

/// How weights lie: four of them, or the first ones of the last four, as float32.
struct FloatWeights {
  static constexpr std::size_t kBytes = 4;
  static float32x4_t load(const std::uint8_t* p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
  static float32x4_t load_first(const std::uint8_t* p, int count) {
    std::uint8_t bytes[16] = {};
    for (int i = 0; i < 4 * count; ++i) bytes[i] = p[i];
    return load(bytes);
  }
};
struct Bf16Weights {
  static constexpr std::size_t kBytes = 2;
  static float32x4_t load(const std::uint8_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
  }
  static float32x4_t load_first(const std::uint8_t* p, int count) {
    std::uint8_t bytes[8] = {};
    for (int i = 0; i < 2 * count; ++i) bytes[i] = p[i];
    return load(bytes);
  }
};
struct F16Weights {
  static constexpr std::size_t kBytes = 2;
  static float32x4_t load(const std::uint8_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
  }
  static float32x4_t load_first(const std::uint8_t* p, int count) {
    std::uint8_t bytes[8] = {};
    for (int i = 0; i < 2 * count; ++i) bytes[i] = p[i];
    return load(bytes);
  }
};

/// A tile of R rows by O outputs. Each (row, output) has one chain of four lanes over all inputs,
/// so its bits are those of any other tile shape. 4 x 5: 20 sums and 6 operands in 32 registers.
template <class Weights, int R, int O>
void tile(const float* x, std::size_t x_stride, const std::uint8_t* w, int inputs, float* out,
          std::size_t out_stride) {
  const std::size_t row_bytes = static_cast<std::size_t>(inputs) * Weights::kBytes;
  float32x4_t sums[R][O];
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) sums[r][o] = vdupq_n_f32(0);
  }
  int i = 0;
  const auto step = [&](const auto& load, const auto& load_weights) {
    float32x4_t weights[O];
    for (int o = 0; o < O; ++o) {
      weights[o] = load_weights(w + static_cast<std::size_t>(o) * row_bytes +
                                static_cast<std::size_t>(i) * Weights::kBytes);
    }
    for (int r = 0; r < R; ++r) {
      const float32x4_t value = load(x + static_cast<std::size_t>(r) * x_stride + i);
      for (int o = 0; o < O; ++o) sums[r][o] = vfmaq_f32(sums[r][o], value, weights[o]);
    }
  };
  for (; i + kLanes <= inputs; i += kLanes) {
    step([](const float* p) { return vld1q_f32(p); }, Weights::load);
  }
  if (i < inputs) {
    step([&](const float* p) { return load_first(p, inputs - i); },
         [&](const std::uint8_t* p) { return Weights::load_first(p, inputs - i); });
  }
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      out[static_cast<std::size_t>(r) * out_stride + static_cast<std::size_t>(o)] =
          vaddvq_f32(sums[r][o]);
    }
  }
}

template <class Weights, int R, int O>
void all_outputs(const float* x, std::size_t x_stride, const std::uint8_t* w, int outputs,
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
  const auto* w = static_cast<const std::uint8_t*>(weights);
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    const auto row = static_cast<std::size_t>(r);
    all_outputs<Weights, 4, 5>(x + row * x_stride, x_stride, w, outputs, inputs,
                               out + row * out_stride, out_stride);
  }
  // One row alone needs eight chains to hide the latency of a multiply-add.
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

/// Converts `count` halves by fours; the last ones through a full vector of their own.
template <class Convert>
void convert_halves(const void* in, std::size_t count, float* out, const Convert& convert) {
  const auto* bytes = static_cast<const std::uint8_t*>(in);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    vst1q_f32(out + i, convert(vreinterpret_u16_u8(vld1_u8(bytes + 2 * i))));
  }
  if (i == count) return;
  std::uint8_t rest[2 * kLanes] = {};
  __builtin_memcpy(rest, bytes + 2 * i, 2 * (count - i));
  float values[kLanes];
  vst1q_f32(values, convert(vreinterpret_u16_u8(vld1_u8(rest))));
  __builtin_memcpy(out + i, values, sizeof(float) * (count - i));
}

void bf16_to_f32(const void* in, std::size_t count, float* out) {
  convert_halves(in, count, out,
                 [](uint16x4_t halves) { return vreinterpretq_f32_u32(vshll_n_u16(halves, 16)); });
}

void f16_to_f32(const void* in, std::size_t count, float* out) {
  convert_halves(in, count, out,
                 [](uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); });
}

void decode_sixteen(uint8x16_t codes, float32x4_t scale, float32x4_t bias, float* out) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(codes));
  const uint16x8_t high = vmovl_high_u8(codes);
  const auto decode = [&](uint32x4_t four, float* to) {
    vst1q_f32(to, vaddq_f32(vmulq_f32(scale, vcvtq_f32_u32(four)), bias));
  };
  decode(vmovl_u16(vget_low_u16(low)), out);
  decode(vmovl_high_u16(low), out + 4);
  decode(vmovl_u16(vget_low_u16(high)), out + 8);
  decode(vmovl_high_u16(high), out + 12);
}

void decode_affine4(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(codes);
  for (int i = 0; i < columns; i += 32) {
    const float32x4_t scale = vdupq_n_f32(scales[i / group_size]);
    const float32x4_t bias = vdupq_n_f32(biases[i / group_size]);
    const uint8x16_t packed = vld1q_u8(bytes + i / 2);
    const uint8x16_t even = vandq_u8(packed, vdupq_n_u8(15));
    const uint8x16_t odd = vshrq_n_u8(packed, 4);
    decode_sixteen(vzip1q_u8(even, odd), scale, bias, out + i);
    decode_sixteen(vzip2q_u8(even, odd), scale, bias, out + i + 16);
  }
}

void decode_affine8(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(codes);
  for (int i = 0; i < columns; i += 16) {
    decode_sixteen(vld1q_u8(bytes + i), vdupq_n_f32(scales[i / group_size]),
                   vdupq_n_f32(biases[i / group_size]), out + i);
  }
}

constexpr FloatKernels kKernels = {
    matmul,     multiply<Bf16Weights>, multiply<F16Weights>, bf16_to_f32,
    f16_to_f32, decode_affine4,        decode_affine8};

}  // namespace

const FloatKernels& neon_float_kernels() {
  return kKernels;
}

}  // namespace quiver
