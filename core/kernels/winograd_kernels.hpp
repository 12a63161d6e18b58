// Transforms of a convolution of 3 x 3 that computes 4 x 4 pixels from 36 products instead of 144.
#pragma once

#include <cstddef>

namespace quiver {

/// A tile of inputs is 6 x 6 pixels, one of outputs 4 x 4; both, and the kernel, become points of a
/// polynomial, where a convolution is one product a point.
inline constexpr int kWinogradIn = 6;
inline constexpr int kWinogradOut = 4;
inline constexpr int kWinogradPoints = kWinogradIn * kWinogradIn;

/// Where the polynomials are taken: 0, both signs of these, and infinity. Powers of numbers close
/// to 1 stay close to 1, so a sum keeps all but a bit of its precision (1 and 2 would cost four),
/// and all constants of the transforms are exact in float32.
inline constexpr double kWinogradNear = 0.625;
inline constexpr double kWinogradFar = 1.5;

/// A tile of inputs whose upper left pixel is x: value (y, x) of channel c at
/// x[y * row + x * pixel + c] becomes out[(6 y + x) * plane + c].
struct WinogradInput {
  const float* x = nullptr;
  std::size_t row = 0;
  std::size_t pixel = 0;
  int channels = 0;
  float* out = nullptr;
  std::size_t plane = 0;
};

/// A tile of outputs from its points sums[i * plane + o], with the end of ConvRow. Stores `height`
/// x `width` pixels of it, both at most 4.
struct WinogradOutput {
  const float* sums = nullptr;
  std::size_t plane = 0;
  int outputs = 0;
  int height = kWinogradOut;
  int width = kWinogradOut;
  const float* scale = nullptr;  ///< Filled up to whole panels, like the bias.
  const float* bias = nullptr;
  const float* residual = nullptr;  ///< Added at the end; nullptr = none.
  std::size_t residual_row = 0;
  std::size_t residual_pixel = 0;
  float* out = nullptr;
  std::size_t row = 0;
  std::size_t pixel = 0;
  bool is_silu = false;
};

}  // namespace quiver
