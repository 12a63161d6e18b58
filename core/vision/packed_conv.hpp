// Quantized kernels in the layout of the integer products.
#pragma once

#include <vector>

#include "core/kernels/packed_weights.hpp"
#include "core/model/image_parts.hpp"
#include "core/vision/image_memory.hpp"

namespace quiver {

/// A dense convolution whose kernel stays quantized: rows of it meet rows of pixels'
/// neighbourhoods.
struct PackedConv {
  PackedWeights weights;  ///< data = nullptr where the kernel cannot be packed.
  FloatMemory memory;
  std::vector<float> scale;  ///< Of each output, from the batch norm, as the bias.
  std::vector<float> bias;
};

/// Whether the integer kernels take the part's kernel. [any-thread]
bool is_packable(const Conv2dPart& part);

/// REQUIRES: is_packable(part). [any-thread]
PackedConv pack_conv(const Conv2dPart& part);

}  // namespace quiver
