// The layout of quantized matrices that core's integer kernels read, and what those kernels do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <quiver/dtype.hpp>

namespace quiver {

/// Outputs whose codes lie interleaved: a stripe. One vector lane is one output, so one activation
/// that is broadcast serves the whole stripe and no sum over lanes is needed.
inline constexpr int kStripeOutputs = 16;

/// Inputs per step of the layout.
inline constexpr int kSpan = 32;

/// An affine matrix, weight = scale * code + bias by groups of inputs, as the kernels want it.
///
/// Stripe after stripe of 16 outputs (the last one filled up with zeros); in a stripe group after
/// group of inputs; in a group the codes span by span, then 16 scales, then 16 biases in their
/// stored type. Codes of a span lie in planes of 8, 4, 2 or 1 bits (3 = 2 + 1, 5 = 4 + 1,
/// 6 = 4 + 2; the low bits first): words of 32 bits, the same word of the 16 outputs side by side.
/// Byte j of a word holds, from its low bits up, inputs 8c + 2j and 8c + 2j + 1 of one chunk c of
/// eight inputs after another; an 8-bit plane has two words a chunk, one of even and one of odd
/// inputs. With 4 bits a word is thus the very word of MLX's layout.
struct PackedWeights {
  const std::byte* data = nullptr;  ///< Aligned to 64 bytes.
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;            ///< A multiple of group_size.
  int bits = 0;                       ///< 2, 3, 4, 5, 6 or 8
  int group_size = 0;                 ///< 32, 64 or 128
  DType parameter_type = DType::f32;  ///< Of scales and biases: f32, f16 or bf16.
  std::int64_t stripes = 0;
  std::size_t code_bytes = 0;    ///< Codes of one group of a stripe.
  std::size_t group_bytes = 0;   ///< The same with its scales and biases.
  std::size_t stripe_bytes = 0;  ///< All groups of a stripe.
};

/// How activations are written for a product with packed weights.
enum class ActivationFormat : std::uint8_t {
  /// 8 bits with one scale for 32 inputs. For codes of at most 4 bits only: with more, its error
  /// would outweigh that of the weights.
  int8,
  /// 16 bits with one scale for each group of the weights.
  int16,
};

/// Largest magnitude of an activation code. int16 codes are split into two signed bytes by some
/// tables, so they end at 127 * 256 + 127.
inline constexpr int kInt8Limit = 127;
inline constexpr int kInt16Limit = 127 * 256 + 127;

/// Kernels on packed weights. The order of floating-point operations per row and output is fixed:
///   for each group: for each block: sum = fma(integer sum, scale * scale of the block, sum);
///                   sum = fma(bias, sum of the group's codes times their scales, sum)
/// The integer sums are exact, so a row's bits depend neither on its neighbours nor on the table.
/// The bias meets the sum of the quantized activations, not of the true ones: only so do scale and
/// bias cancel as they do in the weights.
struct PackedKernels {
  /// Writes rows of activations x[r * x_stride + i] by blocks (32 inputs for int8, a group for
  /// int16): code = x * (limit / m) rounded to nearest even, m the largest magnitude of the block;
  /// its scale m / limit; zeros for a block of zeros. What is infinite or no number in a row makes
  /// its products so. `out` has rows * activation_row_bytes()
  /// bytes, aligned to 64, in an order of the table's own. [any-thread]
  void (*quantize)(const float* x, std::size_t x_stride, int rows, int inputs, int group_size,
                   ActivationFormat format, std::byte* out);

  /// out[r * out_stride + o - 16 * first_stripe] for the outputs o of stripes [first_stripe,
  /// first_stripe + stripes) and all rows that `activations` holds. [any-thread]
  void (*matmul)(const PackedWeights& weights, std::int64_t first_stripe, std::int64_t stripes,
                 const std::byte* activations, int rows, ActivationFormat format, float* out,
                 std::size_t out_stride);
};

/// Whether the kernels take matrices of this form. [any-thread]
bool is_packable(int bits, int group_size, std::int64_t inputs);

/// Sizes of a packed matrix, without data. [any-thread]
PackedWeights packed_layout(std::int64_t outputs, std::int64_t inputs, int bits, int group_size,
                            DType parameter_type);

/// Writes stripes [first, first + count) of a matrix to `out` (the start of the first stripe). The
/// source is in MLX's layout: `codes` one little-endian bit stream a row, `scales` and `biases`
/// [outputs, inputs / group_size] of the parameter type; all may be unaligned. [any-thread]
void pack_stripes(const PackedWeights& layout, const std::byte* codes, const std::byte* scales,
                  const std::byte* biases, std::int64_t first, std::int64_t count, std::byte* out);

/// Bytes that one row of quantized activations takes. [any-thread]
std::size_t activation_row_bytes(ActivationFormat format, std::int64_t inputs, int group_size);

}  // namespace quiver
