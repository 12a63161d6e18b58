// What a quantization scheme implements.
#pragma once

#include <quiver/dtype.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// One way a scheme can store a matrix.
struct QuantFormat {
  std::int32_t bits;        ///< Bits of one code.
  std::int32_t group_size;  ///< Weights along the input axis that share their parameters.
};

/// One stored tensor of a quantized matrix: NAME + suffix, [rows, columns] of `dtype`.
struct QuantPart {
  const char* suffix;  ///< E.g. ".weight", ".scales".
  DType dtype;
  std::int64_t columns;
};

/// The packed layouts that core has kernels for. A scheme says which one its stored parts map to.
enum class PackedFormat : std::uint32_t {
  none = 0,
  /// Parts ".weight" (codes as one little-endian bit stream a row), ".scales", ".biases";
  /// w = scale * code + bias in float32.
  affine = 1,
};

/// A quantized matrix as it lies in memory. The bytes may be unaligned.
struct QuantizedMatrix {
  std::int64_t rows;
  std::int64_t columns;
  QuantFormat format;
  DType parameter_type;                               ///< Of scales and the like.
  std::span<const std::span<const std::byte>> parts;  ///< In the order of QuantScheme::parts.
};

/// A scheme: stateless, deterministic, the same bits on every machine. [any-thread]
class QuantScheme {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.quant-scheme/1";
  static constexpr int kMaxParts = 4;
  virtual ~QuantScheme() = default;

  /// Name of the scheme as in its offer, and as `mode` in a model's config.
  virtual std::string_view name() const = 0;

  /// Every format it can store.
  virtual std::span<const QuantFormat> formats() const = 0;

  /// The stored tensors of a matrix with `columns` inputs; returns how many of `parts` (at least
  /// kMaxParts long) it filled, 0 where the format does not exist or does not divide the columns.
  virtual int parts(const QuantFormat& format, std::int64_t columns, DType parameter_type,
                    std::span<QuantPart> parts) const = 0;

  /// Encodes float32 weights [rows, columns] into the parts, which the caller has sized to
  /// rows * columns-of-part elements each. Weights must be finite: Error(bad_input) otherwise.
  virtual void encode(std::span<const float> weights, std::int64_t rows, std::int64_t columns,
                      const QuantFormat& format, DType parameter_type,
                      std::span<const std::span<std::byte>> parts) const = 0;

  /// Decodes rows [first_row, first_row + row_count) to float32 [row_count, columns].
  virtual void decode(const QuantizedMatrix& matrix, std::int64_t first_row, std::int64_t row_count,
                      std::span<float> weights) const = 0;

  /// Which of core's layouts the stored parts of a format are in.
  virtual PackedFormat packed_format(const QuantFormat& format) const = 0;

  /// The implementation of an optional interface by its id, e.g. QuantEncoder::kInterfaceId, valid
  /// as long as the scheme; nullptr for any other id.
  virtual const void* extension([[maybe_unused]] std::string_view interface_id) const {
    return nullptr;
  }
};

}  // namespace quiver
