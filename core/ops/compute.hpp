// How precisely a forward pass computes.
#pragma once

#include <cstdint>
#include <optional>

#include "core/kernels/packed_weights.hpp"
#include "core/ops/batch.hpp"

namespace quiver {

enum class ComputeMode : std::uint8_t {
  exact,  ///< float32 throughout; what reference tests and measurements use.
  fast,   ///< Quantized linears multiply integers; see ActivationChoice.
};

/// What activations become inside quantized linears of the fast mode.
enum class ActivationChoice : std::uint8_t {
  automatic,  ///< int16, which is nearly exact; int8 for drafts, which verification checks.
  int8,
  int16,
  float32,
};

struct ComputeOptions {
  ComputeMode mode = ComputeMode::fast;
  ActivationChoice activations = ActivationChoice::automatic;

  /// The format for rows of `form` on codes of `bits`; nullopt = float32. int8 activations go with
  /// at most 4 bits: with more their error would outweigh that of the weights. [any-thread]
  std::optional<ActivationFormat> format(RowForm form, int bits) const noexcept {
    if (mode == ComputeMode::exact || activations == ActivationChoice::float32) return std::nullopt;
    const bool is_int8 = activations == ActivationChoice::int8 ||
                         (activations == ActivationChoice::automatic && form == RowForm::draft);
    return is_int8 && bits <= 4 ? ActivationFormat::int8 : ActivationFormat::int16;
  }

  /// The format for feature maps that meet quantized kernels; nullopt = float32. Their codes reach
  /// from the lowest to the highest value, so 8 bits cost less here, whatever the kernel's bits
  /// are. [any-thread]
  std::optional<ActivationFormat> map_format() const noexcept {
    if (mode == ComputeMode::exact || activations == ActivationChoice::float32) return std::nullopt;
    return activations == ActivationChoice::int16 ? ActivationFormat::int16
                                                  : ActivationFormat::int8;
  }
};

}  // namespace quiver
