// One row of affine groups, to codes and back.
#pragma once

#include <quiver/quant_scheme.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace quiver::affine {

/// Where the codes, scales and biases of one row are written; the arrays may be unaligned.
struct EncodedRow {
  std::byte* words;
  std::byte* scales;
  std::byte* biases;
};

/// The same, to be read.
struct EncodedRowView {
  const std::byte* words;
  const std::byte* scales;
  const std::byte* biases;
};

enum class Fault : std::uint32_t {
  none,
  weight_not_finite,    ///< A group holds NaN or an infinity.
  parameter_overflows,  ///< A group's scale or bias is not finite in the type it is stored in.
};

struct EncodeResult {
  Fault fault = Fault::none;
  std::size_t column = 0;  ///< First column of the group at fault.
};

/// Encodes a row exactly as MLX does. bits is 2, 3, 4, 5, 6 or 8; the group size, a multiple of 32,
/// divides the row's columns. After a fault the rest of the row is unwritten. [any-thread]
EncodeResult encode_row(const QuantFormat& format, DType parameter_type,
                        std::span<const float> weights, const EncodedRow& row);

/// Encodes a row with parameters that leave the least squared error found: from several starts,
/// least squares over the codes as they are and nearest codes for the parameters as they are
/// stored, in turns. Squares are weighted by `importance`, one value of zero or more a column, none
/// of them above 1 and in every group at least one above 0. In no group is the error of what
/// decode_row() gives more than with encode_row(). [any-thread]
EncodeResult refit_row(const QuantFormat& format, DType parameter_type,
                       std::span<const float> weights, std::span<const float> importance,
                       const EncodedRow& row);

/// Encodes a row by the range search of the reference package: of fifteen ranges that of the least
/// squared error, before its parameters are rounded to their type; groups in which that rounding
/// makes it worse than encode_row() are encoded as there. [any-thread]
EncodeResult search_row(const QuantFormat& format, DType parameter_type,
                        std::span<const float> weights, const EncodedRow& row);

/// Decodes a row: scale * code + bias, rounded to float32 after each of the two. [any-thread]
void decode_row(const QuantFormat& format, DType parameter_type, const EncodedRowView& row,
                std::span<float> weights);

}  // namespace quiver::affine
