// Quantized kernels in the layout of the products with codes.
#pragma once

#include <vector>

#include "core/kernels/code_conv.hpp"
#include "core/model/image_parts.hpp"
#include "core/vision/image_memory.hpp"

namespace quiver {

/// A dense convolution whose kernel stays quantized, a byte a weight. The codes of a row of pixels
/// lie side by side, `width` to a pixel; a run is what one row of the kernel and one group of its
/// weights have in common there.
struct PackedConv {
  struct Run {
    int begin = 0;  ///< In codes, from the first pixel under the kernel.
    int units = 0;
    int row = 0;
    int group = 0;
  };
  /// Channels whose codes are added up, since the bias of a group meets their sum.
  struct Block {
    int begin = 0;
    int count = 0;
    bool operator==(const Block&) const = default;
  };
  /// A block of a pixel under the kernel, which belongs to a group.
  struct Piece {
    int group = 0;
    int row = 0;
    int tap = 0;
    std::size_t block = 0;
  };

  ActivationFormat format = ActivationFormat::int8;
  int width = 0;  ///< Codes of a pixel: its channels, filled up to whole units.
  int groups = 0;
  int rows = 0;  ///< Of the kernel.
  std::vector<Run> runs;
  std::vector<Block> blocks;
  std::vector<Piece> pieces;  ///< By group, then by row.
  FloatMemory weights;        ///< As CodeConvRow::weights; nullptr = not packed.
  std::size_t panel_bytes = 0;
  FloatMemory parameters;    ///< As CodeConvRow::parameters.
  std::vector<float> scale;  ///< Of each output, from the batch norm, as the bias.
  std::vector<float> bias;

  /// The groups' biases, and for each row of the kernel the sum of its weights: that meets the code
  /// that stands for zero.
  int terms() const noexcept { return groups + rows; }
};

/// Whether the integer kernels take the part's kernel. [any-thread]
bool is_packable(const Conv2dPart& part);

/// For maps whose values become codes of `format`. REQUIRES: is_packable(part). [any-thread]
PackedConv pack_conv(const Conv2dPart& part, ActivationFormat format);

}  // namespace quiver
