// One of a scheme's encoders, asked for by name.
#pragma once

#include <quiver/quant_encoder.hpp>

#include <span>
#include <string>

namespace quiver {

/// An encoder of a scheme that must outlive it. "exact" is the encoder of every scheme:
/// QuantScheme::encode. [any-thread]
class NamedEncoder {
 public:
  /// Throws Error(usage) listing what there is where the scheme has no encoder of that name, and
  /// Error(plugin) where its list is malformed.
  NamedEncoder(const QuantScheme& scheme, std::string name);

  const std::string& name() const { return name_; }

  /// As QuantEncoder::encode. Importances are ignored by encoders that do not use them. Exceptions
  /// of the plugin pass through; see call_plugin().
  void encode(std::span<const float> weights, std::int64_t rows, std::int64_t columns,
              const QuantFormat& format, DType parameter_type, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const;

  /// Whether importances change what it does.
  bool uses_importance() const { return uses_importance_; }

 private:
  const QuantScheme& scheme_;
  const QuantEncoder* encoder_ = nullptr;  ///< nullptr = the scheme's own.
  std::string name_;
  bool uses_importance_ = false;
};

}  // namespace quiver
