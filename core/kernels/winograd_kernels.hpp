// Transforms of a convolution of 3 x 3 that computes 4 x 4 pixels from fewer products than 144.
#pragma once

#include <array>
#include <cstddef>

namespace quiver {

/// Outputs of a tile in a line.
inline constexpr int kWinogradOut = 4;
inline constexpr int kMostWinogradIn = 9;

/// How a tile is computed in each of its two directions. A line of inputs becomes as many values, a
/// line of the kernel, too; their products, summed over the channels, become four outputs. Two
/// values whose products go to one output alone share a sum.
struct WinogradScheme {
  int in = 0;    ///< Values of a line.
  int sums = 0;  ///< At most `in`.
  std::array<int, kMostWinogradIn> sum_of{};
};

/// By steps of one pixel: a line is taken as a polynomial, at 0, both signs of these, and infinity.
/// The powers of such numbers stay close to 1, so that a result loses less than a bit of its
/// precision (with 1 and 2 it would lose two), and all constants are exact in float32.
inline constexpr double kWinogradNear = 0.625;
inline constexpr double kWinogradFar = 1.5;

/// By steps of two: the inputs that the kernel's outer values meet are such a polynomial, at 0,
/// both signs of kWinogradEven, kWinogradLone and infinity; the four others are products of their
/// own.
inline constexpr double kWinogradEven = 0.75;
inline constexpr double kWinogradLone = 2.0;

/// By steps of one and of two pixels.
inline constexpr std::array<WinogradScheme, 2> kWinogradSchemes{
    {{6, 6, {0, 1, 2, 3, 4, 5}}, {9, 7, {0, 1, 2, 3, 4, 0, 5, 6, 4}}}};

/// A tile of inputs whose upper left pixel is x: pixel (y, x) lies at x + y * row + x * pixel.
/// Channel c of value i, of in * in ones, goes to out[places[i] + c].
struct WinogradInput {
  const float* x = nullptr;
  std::size_t row = 0;
  std::size_t pixel = 0;
  int channels = 0;
  float* out = nullptr;
  const std::size_t* places = nullptr;
};

/// A tile of outputs from its sums, sum i of sums * sums ones at sums[i * plane + o], with the end
/// of ConvRow. Stores `height` x `width` pixels, both at most 4.
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

/// The transforms of one scheme.
struct WinogradKernels {
  void (*input)(const WinogradInput& tile);
  void (*output)(const WinogradOutput& tile);
};

}  // namespace quiver
