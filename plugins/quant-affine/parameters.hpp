// Scales and biases as they are stored: float32, float16 or bfloat16, possibly unaligned.
#pragma once

#include <quiver/dtype.hpp>

#include <cmath>
#include <cstddef>

namespace quiver::affine {

/// What a group's codes are multiplied by, and what is added then.
struct Parameters {
  float scale;
  float bias;
};

/// Whether scales and biases can be stored as `type`. [any-thread]
constexpr bool is_parameter_type(DType type) noexcept {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

/// Writes element `index` of an array of `type`, rounded to nearest even, and returns whether it is
/// still finite. [any-thread]
bool store_parameter(DType type, std::byte* array, std::size_t index, float value) noexcept;

/// `value` as it is read back after storing it; not finite where it is too large. [any-thread]
float as_stored(DType type, float value) noexcept;
inline Parameters as_stored(DType type, Parameters parameters) noexcept {
  return {as_stored(type, parameters.scale), as_stored(type, parameters.bias)};
}

/// Whether neither is NaN or infinite. [any-thread]
inline bool is_finite(Parameters parameters) noexcept {
  return std::isfinite(parameters.scale) && std::isfinite(parameters.bias);
}

/// The number of a 16-bit type `steps` representable ones further from zero than `stored`, which is
/// one itself other than zero; towards zero where steps is negative. The result may be zero or
/// infinite. [any-thread]
float beside(DType type, float stored, int steps) noexcept;

/// Reads element `index` of an array of `type`. [any-thread]
float load_parameter(DType type, const std::byte* array, std::size_t index) noexcept;

}  // namespace quiver::affine
