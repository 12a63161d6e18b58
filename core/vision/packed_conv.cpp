// Quantized kernels in the layout of the integer products.
#include "core/vision/packed_conv.hpp"

#include <quiver/quant_scheme.hpp>

#include "core/kernels/image_kernels.hpp"

namespace quiver {

bool is_packable(const Conv2dPart& part) {
  const StoredMatrix& matrix = part.matrix;
  return !part.is_depthwise && matrix.scheme != nullptr && matrix.part_count == 3 &&
         matrix.scheme->packed_format(matrix.format) == PackedFormat::affine &&
         is_packable(matrix.format.bits, matrix.format.group_size, matrix.columns);
}

PackedConv pack_conv(const Conv2dPart& part) {
  const StoredMatrix& matrix = part.matrix;
  PackedConv conv;
  conv.weights = packed_layout(matrix.rows, matrix.columns, matrix.format.bits,
                               matrix.format.group_size, matrix.dtype);
  const std::size_t bytes =
      static_cast<std::size_t>(conv.weights.stripes) * conv.weights.stripe_bytes;
  conv.memory = allocate_floats((bytes + sizeof(float) - 1) / sizeof(float));
  auto* data = reinterpret_cast<std::byte*>(conv.memory.get());
  pack_stripes(conv.weights, matrix.parts[0].data(), matrix.parts[1].data(), matrix.parts[2].data(),
               0, conv.weights.stripes, data);
  conv.weights.data = data;
  const auto filled = static_cast<std::size_t>(conv.weights.stripes * kStripeOutputs);
  conv.scale = part.scale;
  conv.scale.resize(filled, 1.0F);
  conv.bias = part.bias;
  conv.bias.resize(filled, 0.0F);
  return conv;
}

}  // namespace quiver
