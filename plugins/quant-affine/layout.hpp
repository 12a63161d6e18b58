// The formats of affine matrices, and the sizes of their rows and parts.
#pragma once

#include <quiver/error.hpp>
#include <quiver/quant_scheme.hpp>

#include "affine.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace quiver::affine {

enum Part : std::size_t { kWords = 0, kScales = 1, kBiases = 2, kParts = 3 };

/// Every format there is. [any-thread]
std::span<const QuantFormat> formats() noexcept;
bool is_format(const QuantFormat& format) noexcept;

/// Bytes of one row of each part. The constructor throws Error(bad_input) where the format does not
/// fit the columns. [any-thread]
struct RowSizes {
  std::array<std::size_t, kParts> bytes;

  RowSizes(const QuantFormat& format, std::int64_t columns, DType parameter_type);
};

/// Throws Error(bad_input) where `actual` elements are not rows * row_size; never overflows.
/// [any-thread]
void require_size(const char* what, std::size_t actual, std::int64_t rows, std::size_t row_size);

/// The same for all parts, spans of constant or writable bytes. [any-thread]
template <class Byte>
void require_parts(std::span<const std::span<Byte>> parts, std::int64_t rows,
                   const RowSizes& sizes) {
  if (parts.size() < kParts) {
    throw Error(ErrorCode::internal, "affine has three parts", "quant scheme affine");
  }
  require_size("codes", parts[kWords].size(), rows, sizes.bytes[kWords]);
  require_size("scales", parts[kScales].size(), rows, sizes.bytes[kScales]);
  require_size("biases", parts[kBiases].size(), rows, sizes.bytes[kBiases]);
}

/// A matrix to encode, as QuantScheme::encode is given it.
struct Encoding {
  std::span<const float> weights;
  std::int64_t rows;
  std::int64_t columns;
  const QuantFormat& format;
  DType parameter_type;
  std::span<const std::span<std::byte>> parts;
};

/// Checks the sizes and calls `encode_one` for every row. Throws Error(bad_input) for sizes, and
/// for the first row that reports a fault, naming the place. [any-thread]
void encode_rows(
    const Encoding& encoding,
    const std::function<EncodeResult(std::span<const float>, const EncodedRow&)>& encode_one);

}  // namespace quiver::affine
