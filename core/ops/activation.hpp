// Activation functions of values.
#pragma once

#include <cmath>
#include <numbers>
#include <quiver/ops.hpp>

#include "core/kernels/kernel_table.hpp"

namespace quiver {

/// The formulas stand at Activation. [any-thread]
inline float activate_value(Activation activation, float x) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::silu: return x / (1.0F + std::exp(-x));
    case Activation::gelu_tanh: {
      constexpr float kRoot = 0.7978845608028654F;  // sqrt(2 / pi)
      return 0.5F * x * (1.0F + std::tanh(kRoot * (x + 0.044715F * x * x * x)));
    }
    case Activation::gelu_erf:
      return 0.5F * x * (1.0F + std::erf(x * (std::numbers::sqrt2_v<float> / 2.0F)));
    case Activation::sigmoid: return 1.0F / (1.0F + std::exp(-x));
    case Activation::relu: return x > 0 ? x : 0.0F;
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

/// The same for each of `count` values in place. [any-thread]
inline void activate_values(Activation activation, float* values, std::size_t count) {
  switch (activation) {
    case Activation::none: return;
    case Activation::silu: kernels().elements->sigmoid_multiply(values, values, count); return;
    default:
      for (std::size_t i = 0; i < count; ++i) values[i] = activate_value(activation, values[i]);
  }
}

}  // namespace quiver
