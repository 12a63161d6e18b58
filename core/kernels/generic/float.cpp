// Kernels in plain C++ for any machine: the reference that every other table is compared with.
#include "core/kernels/kernel_table.hpp"

#include <cstring>

#include "core/tensor/half.hpp"

namespace quiver {
namespace {

// Eight partial sums per output, as the vector tables have lanes: short enough to add up exactly
// the same way for every row, long enough for a compiler to vectorize.
constexpr int kLanes = 8;

/// `weight(i)` is the i-th weight.
template <class Weight>
float dot(const float* x, int inputs, const Weight& weight) {
  float sums[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= inputs; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane] * weight(i + lane);
  }
  for (int lane = 0; i + lane < inputs; ++lane) sums[lane] += x[i + lane] * weight(i + lane);
  const float low = (sums[0] + sums[4]) + (sums[2] + sums[6]);
  const float high = (sums[1] + sums[5]) + (sums[3] + sums[7]);
  return low + high;
}

void matmul(const float* x, std::size_t x_stride, int rows, const float* w, int outputs, int inputs,
            float* out, std::size_t out_stride) {
  for (int o = 0; o < outputs; ++o) {
    const float* weights = w + static_cast<std::size_t>(o) * static_cast<std::size_t>(inputs);
    for (int r = 0; r < rows; ++r) {
      const auto row = static_cast<std::size_t>(r);
      out[row * out_stride + static_cast<std::size_t>(o)] =
          dot(x + row * x_stride, inputs, [&](int i) { return weights[i]; });
    }
  }
}

template <float (*convert)(std::uint16_t)>
void matmul_halves(const float* x, std::size_t x_stride, int rows, const void* w, int outputs,
                   int inputs, float* out, std::size_t out_stride) {
  const auto* bytes = static_cast<const unsigned char*>(w);
  for (int o = 0; o < outputs; ++o) {
    const auto weight = [&](int i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, bytes + 2 * i, 2);
      return convert(bits);
    };
    for (int r = 0; r < rows; ++r) {
      const auto row = static_cast<std::size_t>(r);
      out[row * out_stride + static_cast<std::size_t>(o)] = dot(x + row * x_stride, inputs, weight);
    }
    bytes += 2 * static_cast<std::size_t>(inputs);
  }
}

template <float (*convert)(std::uint16_t)>
void halves_to_f32(const void* in, std::size_t count, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes + 2 * i, 2);
    out[i] = convert(bits);
  }
}

void decode_affine4(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(codes);
  for (int i = 0; i < columns; ++i) {
    const int code = (bytes[i / 2] >> (4 * (i % 2))) & 15;
    const float product = scales[i / group_size] * static_cast<float>(code);
    out[i] = product + biases[i / group_size];
  }
}

void decode_affine8(const void* codes, const float* scales, const float* biases, int columns,
                    int group_size, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(codes);
  for (int i = 0; i < columns; ++i) {
    const float product = scales[i / group_size] * static_cast<float>(bytes[i]);
    out[i] = product + biases[i / group_size];
  }
}

constexpr FloatKernels kKernels = {matmul,
                                   matmul_halves<bf16_to_f32>,
                                   matmul_halves<f16_to_f32>,
                                   halves_to_f32<bf16_to_f32>,
                                   halves_to_f32<f16_to_f32>,
                                   decode_affine4,
                                   decode_affine8};

}  // namespace

const FloatKernels& generic_float_kernels() {
  return kKernels;
}

}  // namespace quiver
