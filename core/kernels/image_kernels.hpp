// Kernels on feature maps: convolutions of one row of pixels, channels side by side in memory.
#pragma once

#include <cstddef>

#include "core/kernels/winograd_kernels.hpp"

namespace quiver {

/// Outputs whose weights lie side by side: a panel, [inputs][16], the last one filled up with
/// zeros.
inline constexpr int kPanelOutputs = 16;

/// Inputs of a convolution that lie in a row in memory for each pixel: pixel p reads `length`
/// values from x + p * stride. A kernel of 3 x 3 has three (one a row, where a map's pixels lie
/// next to each other) or nine, one of 1 x 1 on several maps side by side has one a map.
struct ConvRun {
  const float* x = nullptr;
  std::size_t stride = 0;
  int length = 0;
};

/// `pixels` pixels next to each other, for up to kMaxPanels panels.
struct ConvRow {
  const ConvRun* runs = nullptr;
  int run_count = 0;
  const float* weights = nullptr;  ///< First panel; inputs in the order of the runs.
  std::size_t panel_stride = 0;    ///< Floats from a panel to the next.
  int panels = 0;
  int outputs = 0;                  ///< At most 16 * panels.
  const float* scale = nullptr;     ///< 16 * panels values; nullptr = the sums as they are.
  const float* bias = nullptr;      ///< 16 * panels values.
  const float* residual = nullptr;  ///< Added at the end; nullptr = none.
  std::size_t residual_stride = 0;
  float* out = nullptr;
  std::size_t out_stride = 0;
  int pixels = 0;
  bool is_silu = false;
};

/// One row of a depthwise convolution of 3 x 3: pixel p of channel c reads
/// rows[dy][(p * step + dx) * stride + c].
struct DepthwiseRow {
  const float* rows[3] = {};
  std::size_t stride = 0;
  int step = 1;
  const float* weights = nullptr;  ///< [9][channels]
  const float* scale = nullptr;    ///< [channels]
  const float* bias = nullptr;     ///< [channels]
  const float* residual = nullptr;
  std::size_t residual_stride = 0;
  float* out = nullptr;
  std::size_t out_stride = 0;
  int pixels = 0;
  int channels = 0;
  bool is_silu = false;
};

inline constexpr int kMaxPanels = 3;

/// Each output is the sum of the products in the order of the inputs, one after another, then times
/// scale plus bias, then x * sigmoid(x) where asked for, then the residual: its bits do not depend
/// on what is computed beside it. Tables differ in the last bits.
struct ImageKernels {
  /// Panels that `convolve` likes best at a time; it takes up to kMaxPanels.
  int panels;
  void (*convolve)(const ConvRow& row);
  void (*depthwise)(const DepthwiseRow& row);

  /// Of kWinogradSchemes.
  WinogradKernels winograd[2];
};

}  // namespace quiver
