// GGUF blocks of 32 as affine groups of 32, without loss.
#pragma once

#include "core/tensor/gguf_types.hpp"

#include <quiver/dtype.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace quiver {

/// Elements in a block of Q4_0, Q4_1 and Q8_0, and in the affine groups they become.
inline constexpr int kBlockGroupSize = 32;

/// Bits of the affine codes that blocks of `type` become: 4 for Q4_0 and Q4_1, 8 for Q8_0, nothing
/// for types without an exact affine form. [any-thread]
std::optional<int> affine_bits(GgufType type) noexcept;

/// The narrowest type, f16 or f32, that holds the scale and bias of every block exactly. The
/// offsets of Q4_0 and Q8_0 become biases of -8 and -128 scales, which leave f16 where scales are
/// large. Throws Error(bad_input) naming the block where a scale or minimum is not a finite number,
/// and Error(internal) for a type without an affine form or a piece of a block. [any-thread]
DType affine_scale_type(GgufType type, std::span<const std::byte> bytes);

/// Rewrites n blocks so that w = scale * code + bias, computed in float32, equals the block's
/// value:
///   Q4_1  code = q,       scale = d, bias = m
///   Q4_0  code = q,       scale = d, bias = -8 d     (q stored with offset 8)
///   Q8_0  code = q + 128, scale = d, bias = -128 d
/// `codes` gets n * 32 * affine_bits(type) / 32 words, code k of the n * 32 in the little-endian
/// bit stream at bits [k * bits, (k + 1) * bits), as MLX packs rows. `scales` and `biases` get n
/// elements of `scale_type` (f16 or f32) each, at any alignment.
///
/// Returns whether `scale_type` holds all of them exactly; where not, the outputs are incomplete
/// and affine_scale_type() tells the type to use. All rows of one tensor need the same type: ask
/// for the whole tensor first, then convert in pieces. Throws Error(internal) where sizes do not
/// fit together or for a type without an affine form. [any-thread]
[[nodiscard]] bool affine_from_blocks(GgufType type, std::span<const std::byte> bytes,
                                      DType scale_type, std::span<std::uint32_t> codes,
                                      std::span<std::byte> scales, std::span<std::byte> biases);

}  // namespace quiver
