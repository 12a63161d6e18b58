// Scales and biases as they are stored: float32, float16 or bfloat16, possibly unaligned.
#pragma once

#include <quiver/dtype.hpp>

#include <cstddef>

namespace quiver::affine {

/// Whether scales and biases can be stored as `type`. [any-thread]
constexpr bool is_parameter_type(DType type) noexcept {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

/// Writes element `index` of an array of `type`, rounded to nearest even, and returns whether it is
/// still finite. [any-thread]
bool store_parameter(DType type, std::byte* array, std::size_t index, float value) noexcept;

/// Reads element `index` of an array of `type`. [any-thread]
float load_parameter(DType type, const std::byte* array, std::size_t index) noexcept;

}  // namespace quiver::affine
