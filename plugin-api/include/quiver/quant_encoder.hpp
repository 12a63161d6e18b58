// The extension of quantization schemes that can encode a matrix in more than one way.
#pragma once

#include <quiver/quant_scheme.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// One way to choose the codes and parameters of a matrix. The stored form and its decoding are the
/// scheme's in any case.
struct QuantEncoderInfo {
  const char* name;      ///< What a user writes, e.g. "refit".
  const char* summary;   ///< One line, no final full stop.
  bool uses_importance;  ///< Whether it looks at QuantEncoder::encode's `importance`.
};

/// The encoders of a scheme, reached by QuantScheme::extension(kInterfaceId). Stateless,
/// deterministic, the same bits on every machine; rows are independent, so that any number of
/// threads may encode ranges of rows of one matrix at once. [any-thread]
class QuantEncoder {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.quant-encoder/1";
  virtual ~QuantEncoder() = default;

  /// All encoders. The first is the scheme's own QuantScheme::encode, bit for bit. The table lives
  /// as long as the plugin.
  virtual std::span<const QuantEncoderInfo> encoders() const = 0;

  /// Encodes float32 weights [rows, columns] into the parts, whose sizes and order are those of
  /// QuantScheme::encode. The squared error of what is decoded, each column's weighted by its
  /// importance where the encoder uses it, is never more than that of the first encoder.
  ///
  /// `importance`: empty (all columns alike), or a finite value of zero or more for each column,
  /// e.g. the mean squared activation that the column is multiplied by; only ratios matter. A group
  /// whose columns all have zero counts as if they were alike.
  ///
  /// Throws Error(usage) for the name of an encoder that is not in the table, Error(bad_input) for
  /// weights or importances that are not finite, for negative importances, and where the first
  /// encoder would refuse the matrix.
  virtual void encode(std::string_view encoder, std::span<const float> weights, std::int64_t rows,
                      std::int64_t columns, const QuantFormat& format, DType parameter_type,
                      std::span<const float> importance,
                      std::span<const std::span<std::byte>> parts) const = 0;
};

}  // namespace quiver
