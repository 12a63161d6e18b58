// A weight matrix as it lies in a checkpoint: dense in a float type, or quantized by a scheme.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <quiver/dtype.hpp>
#include <quiver/quant_scheme.hpp>
#include <span>
#include <vector>

namespace quiver {

/// A view: the bytes belong to the mapped checkpoint, the scheme to its plugin's library, which the
/// pointer holds. Without bytes (a bare config) only the sizes are known. [any-thread]
struct StoredMatrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  DType dtype =
      DType::f32;  ///< Of the elements, or of a scheme's parameters (scales and the like).
  std::span<const std::byte> dense;  ///< Empty where quantized, apart or without bytes.
  /// Dense rows that lie apart: equal pieces, one after another.
  std::span<const std::span<const std::byte>> pieces;
  std::shared_ptr<const QuantScheme> scheme;  ///< nullptr = dense.
  QuantFormat format{};
  std::array<std::span<const std::byte>, QuantScheme::kMaxParts> parts{};
  int part_count = 0;

  /// Bytes that are stored.
  std::size_t size_bytes() const;

  /// Whether there are bytes to decode.
  bool has_data() const noexcept { return scheme != nullptr || is_dense(); }

  /// Whether there are bytes in a float type.
  bool is_dense() const noexcept { return !dense.empty() || !pieces.empty(); }

  /// Rows [first, first + count) as float32 -> out [count, columns]. Product and sum of an affine
  /// weight are rounded separately, as QuantScheme::decode does.
  void decode(std::int64_t first, std::int64_t count, std::span<float> out) const;

  /// A dense row where it lies. The rows behind it follow it, in its piece.
  const std::byte* dense_row(std::int64_t row) const noexcept;

  /// All spans of bytes that hold the matrix.
  std::vector<std::span<const std::byte>> stored_bytes() const;

  /// The rows from `first` on where they lie, if they are stored as aligned float32; else nullptr.
  /// They follow one another in their piece.
  const float* direct(std::int64_t first) const;
};

/// Converts `count` elements of a float type at `bytes` (which may be unaligned) to float32.
void decode_floats(DType dtype, const std::byte* bytes, std::size_t count, float* out);

}  // namespace quiver
