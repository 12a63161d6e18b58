// Kernels on maps of codes: convolutions whose inputs and weights are both integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernels/image_kernels.hpp"
#include "core/kernels/packed_weights.hpp"

namespace quiver {

/// Inputs that are multiplied together: every pixel's codes are filled up to whole units.
inline constexpr int kUnitCodes = 4;

/// Channels of a row of pixels that lie together: pixel p has `channels` values at x + p * stride.
struct MapValues {
  const float* x = nullptr;
  std::size_t stride = 0;
  int channels = 0;
};

/// Pixels next to each other that become codes: value = factor * (code - zero), up to the rounding.
/// Every `block` pixels, the last ones maybe fewer, have a factor and a zero of their own: the
/// codes reach from their lowest value to their highest, and one of them stands for zero.
struct EncodeRow {
  const MapValues* values = nullptr;  ///< Of `value_count` parts, whose channels are joined.
  int value_count = 0;
  int pixels = 0;
  int block = 1;
  ActivationFormat format = ActivationFormat::int8;
  std::byte* out = nullptr;
  std::size_t out_stride = 0;  ///< Bytes from a pixel to the next.
  float* factors = nullptr;    ///< [blocks]; not a number where a value is none or infinite.
  float* zeros = nullptr;      ///< [blocks]
};

/// Units that lie in a row for each pixel and whose weights have a scale in common: pixel p of the
/// result reads them at x + p * stride.
struct CodeRun {
  const std::byte* x = nullptr;
  int units = 0;
  int row = 0;    ///< Which of CodeConvRow::row_factors belongs to these codes.
  int group = 0;  ///< Which of the scales belongs to these weights.
};

/// A row of pixels of a result, whose output o before what comes after the sum is
///   pixel_factor * (sum over runs of row_factor * scale * integer sum + sum over terms of
///   value[term][o] * factor[term][pixel])
/// with one fused multiply-add a run and a term, in their order.
struct CodeConvRow {
  const CodeRun* runs = nullptr;
  int run_count = 0;
  std::size_t stride = 0;  ///< Bytes from a pixel's codes to those of the next.
  const float* row_factors = nullptr;
  const float* pixel_factors = nullptr;  ///< nullptr = 1
  const float* terms = nullptr;          ///< [term_count][end.pixels]
  int term_count = 0;
  /// By panel `panel_bytes`: the units of the runs one after another, of each the codes of 16
  /// outputs. Where the table's codes take two bytes a unit's weights are 0, 2, 1, 3.
  const std::byte* weights = nullptr;
  std::size_t panel_bytes = 0;
  /// By panel: [groups][16] scales, then [term_count][16] values of the terms.
  const float* parameters = nullptr;
  int groups = 0;
  ConvRow end;  ///< What comes after the sum, and where it goes; any number of outputs.
  ActivationFormat format = ActivationFormat::int8;
  /// What becomes codes next, `ahead_pixels` pixels of each, fetched while these products compute.
  const MapValues* ahead = nullptr;
  int ahead_count = 0;
  int ahead_pixels = 0;
};

/// Convolutions on codes. Codes and integer sums are the same in every table; what is computed from
/// them in float32 may differ in the last bits. A pixel's bits do not depend on those beside it.
struct CodeConvKernels {
  /// Bytes of a code of int8 and of int16: tables without products of bytes keep wider ones.
  int code_bytes[2];

  /// Codes of a row. [any-thread]
  void (*encode)(const EncodeRow& row);

  /// out[p] = sum of the `count` codes at codes + p * stride. [any-thread]
  void (*sum)(const std::byte* codes, std::size_t stride, int pixels, int count,
              ActivationFormat format, std::int32_t* out);

  /// One row of a result. [any-thread]
  void (*convolve)(const CodeConvRow& row);
};

}  // namespace quiver
