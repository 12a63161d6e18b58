// The kernels that exist once per instruction set, and the choice among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// A set of kernels compiled for one instruction set. The same list in each. Every kernel fixes the
/// order of its floating-point operations per output element: a result does not depend on how many
/// rows or outputs are computed together. Different tables may differ in the last bits.
struct KernelTable {
  const char* name;

  /// out[r * out_stride + o] = sum_i x[r * x_stride + i] * w[o * inputs + i], for r < rows and
  /// o < outputs. [any-thread]
  void (*matmul)(const float* x, std::size_t x_stride, int rows, const float* w, int outputs,
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

/// The tables that this machine can run, best first; the last one is "generic". [any-thread]
std::span<const KernelTable* const> available_kernels();

/// The table in use: the best available, or the one that QUIVER_ISA names. Chosen once. Throws
/// Error(usage) where QUIVER_ISA names none that can run here. [any-thread]
const KernelTable& kernels();

/// Why kernels() is what it is, one line for people. [any-thread]
std::string kernel_choice();

// One per instruction set; only the selection calls these.
const KernelTable* generic_kernels();
#if defined(__x86_64__)
const KernelTable* avx2_kernels();
const KernelTable* avx512_kernels();
#endif

}  // namespace quiver
