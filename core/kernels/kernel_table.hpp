// The kernels that exist once per instruction set, and the choice among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/kernels/code_conv.hpp"
#include "core/kernels/delta_kernels.hpp"
#include "core/kernels/image_kernels.hpp"
#include "core/kernels/packed_weights.hpp"

namespace quiver {

/// Products and conversions in float32. Every kernel fixes the order of its floating-point
/// operations per output element: a result does not depend on how many rows or outputs are computed
/// together. Different tables may differ in the last bits.
struct FloatKernels {
  /// out[r * out_stride + o] = sum_i x[r * x_stride + i] * w[o * inputs + i], for r < rows and
  /// o < outputs. [any-thread]
  void (*matmul)(const float* x, std::size_t x_stride, int rows, const float* w, int outputs,
                 int inputs, float* out, std::size_t out_stride);

  /// The same, to the bit, with weights of bfloat16 / float16 as they lie, which may be unaligned:
  /// quicker than converting them first where there are few rows. [any-thread]
  void (*matmul_bf16)(const float* x, std::size_t x_stride, int rows, const void* w, int outputs,
                      int inputs, float* out, std::size_t out_stride);
  void (*matmul_f16)(const float* x, std::size_t x_stride, int rows, const void* w, int outputs,
                     int inputs, float* out, std::size_t out_stride);

  /// out[i] = value of the i-th bfloat16 / float16. `in` may be unaligned. [any-thread]
  void (*bf16_to_f32)(const void* in, std::size_t count, float* out);
  void (*f16_to_f32)(const void* in, std::size_t count, float* out);

  /// One row of 4-bit (or 8-bit) affine codes: out[i] = scales[g] * code[i] + biases[g], product
  /// and sum each rounded, g = i / group_size. group_size is a multiple of 32. `codes` may be
  /// unaligned. [any-thread]
  void (*decode_affine4)(const void* codes, const float* scales, const float* biases, int columns,
                         int group_size, float* out);
  void (*decode_affine8)(const void* codes, const float* scales, const float* biases, int columns,
                         int group_size, float* out);
};

/// Functions of single elements, the same bits in every table.
struct ElementKernels {
  /// values[i] *= silu(gates[i]), or gelu_tanh; formulas at Activation. [any-thread]
  void (*silu_multiply)(const float* gates, float* values, std::size_t count);
  void (*gelu_tanh_multiply)(const float* gates, float* values, std::size_t count);

  /// values[i] *= sigmoid(gates[i]). Values that are their own gates become silu. [any-thread]
  void (*sigmoid_multiply)(const float* gates, float* values, std::size_t count);

  /// The largest of `count` > 0 values. [any-thread]
  float (*largest)(const float* values, int count);

  /// values[i] = e^(values[i] - top); returns their sum. Within 2 units in the last place; 0 where
  /// the exponent is below -87. No value lies above the top by more than 88. [any-thread]
  float (*exp_sum)(float* values, int count, float top);

  /// A step of the online softmax of some rows of `count` > 0 scores, `stride` apart: raises
  /// tops[r] to the largest score of row r, which exp_sum then turns into totals[r]. [any-thread]
  void (*softmax_rows)(float* scores, int stride, int rows, int count, float* tops, float* totals);

  /// out[i] = cap * tanh(in[i] / cap), tanh within 2 units in the last place. NaN stays NaN. `in`
  /// and `out` may be the same. [any-thread]
  void (*soft_cap)(const float* in, std::size_t count, float cap, float* out);

  /// out[i] = bias[i] + sum_t weights[t * stride + i] * inputs[t][i], tap by tap in order; without
  /// a bias the sum begins with 0. [any-thread]
  void (*sum_taps)(const float* const* inputs, const float* weights, std::size_t stride,
                   const float* bias, int taps, std::size_t count, float* out);

  /// values[i] = values[i] * keep + others[i] * add. [any-thread]
  void (*weighted_add)(float* values, float keep, const float* others, float add,
                       std::size_t count);
};

/// All kernels of one instruction set; those that it has nothing better for are those of a narrower
/// one.
struct KernelTable {
  const char* name;
  const FloatKernels* floats;
  const PackedKernels* packed;
  const ElementKernels* elements;
  const DeltaRuleKernels* delta_rule;
  const ImageKernels* images;
  const CodeConvKernels* code_convs;
};

/// The tables that this machine can run, best first; the last one is "generic". [any-thread]
std::span<const KernelTable* const> available_kernels();

/// The table in use: the best available, or the one that QUIVER_ISA names. Chosen once. Throws
/// Error(usage) where QUIVER_ISA names none that can run here. [any-thread]
const KernelTable& kernels();

/// Why kernels() is what it is, one line for people. [any-thread]
std::string kernel_choice();

// What each instruction set's folder brings; only the selection calls these.
const FloatKernels& generic_float_kernels();
const PackedKernels& generic_packed_kernels();
const ElementKernels& generic_element_kernels();
const DeltaRuleKernels& generic_delta_rule_kernels();
const ImageKernels& generic_image_kernels();
const CodeConvKernels& generic_code_conv_kernels();
#if defined(__x86_64__)
const FloatKernels& avx2_float_kernels();
const PackedKernels& avx2_packed_kernels();
const ElementKernels& avx2_element_kernels();
const DeltaRuleKernels& avx2_delta_rule_kernels();
const ImageKernels& avx2_image_kernels();
const CodeConvKernels& avx2_code_conv_kernels();
const PackedKernels& avx2vnni_packed_kernels(bool reads_ahead);
const CodeConvKernels& avx2vnni_code_conv_kernels();
const FloatKernels& avx512_float_kernels();
const PackedKernels& avx512_packed_kernels(bool reads_ahead);
const ElementKernels& avx512_element_kernels();
const DeltaRuleKernels& avx512_delta_rule_kernels();
const ImageKernels& avx512_image_kernels();
const CodeConvKernels& avx512_code_conv_kernels();
const PackedKernels& avx512vnni_packed_kernels(bool reads_ahead);
const CodeConvKernels& avx512vnni_code_conv_kernels();
#elif defined(__aarch64__)
const FloatKernels& neon_float_kernels();
const PackedKernels& neon_packed_kernels();
const DeltaRuleKernels& neon_delta_rule_kernels();
const PackedKernels& neondot_packed_kernels();
#endif

}  // namespace quiver
