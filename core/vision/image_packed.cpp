// Convolutions with quantized kernels: neighbourhoods side by side, rounded to integers, and their
// products with packed weights.
#include <algorithm>
#include <cstring>

#include "core/kernels/kernel_table.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {
namespace {

/// The inputs of the pixels of one output row, [pixels][stride], zeros behind each.
void gather_row(const FeatureMap& x, const Conv2dPart& conv, int y, int pixels, std::size_t stride,
                float* target) {
  const int top = y * conv.stride;
  const auto columns = static_cast<std::size_t>(conv.columns);
  const int reach = conv.kernel / 2;
  const MapPart& first = x.parts.front();
  const bool is_dense =
      x.parts.size() == 1 && first.pixel == static_cast<std::size_t>(first.channels);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    float* row = target + static_cast<std::size_t>(pixel) * stride;
    std::memset(row + columns, 0, (stride - columns) * sizeof(float));
    const int left = pixel * conv.stride;
    for (int dy = -reach; dy <= reach; ++dy) {
      if (is_dense) {
        row = std::copy_n(first.at(top + dy, left - reach), conv.kernel * first.channels, row);
        continue;
      }
      for (int dx = -reach; dx <= reach; ++dx) {
        for (const MapPart& part : x.parts) {
          std::copy_n(part.at(top + dy, left + dx), part.channels, row);
          row += part.channels;
        }
      }
    }
  }
}

}  // namespace

void ImagePass::convolve_packed(const FeatureMap& x, const Conv2dPart& conv,
                                const PackedConv& packed, ActivationFormat format,
                                const FeatureMap* residual, Tensor result) {
  const FeatureMap& out = maps_[static_cast<std::size_t>(result.id)];
  const MapPart& target = out.parts.front();
  const PackedWeights& weights = packed.weights;
  const int pixels = out.size.width;
  const auto stride = static_cast<std::size_t>(weights.inputs);
  const std::size_t row_bytes = activation_row_bytes(format, weights.inputs, weights.group_size);
  const std::size_t gathered = static_cast<std::size_t>(pixels) * stride;
  const std::size_t floats = gathered + (row_bytes * static_cast<std::size_t>(pixels)) / 4 + 16;
  // Rows of one pixel that fill whole groups are read where they lie.
  const bool is_direct = conv.kernel == 1 && x.parts.size() == 1 && conv.columns == weights.inputs;
  threads_.run(out.size.height, [&](int y, int worker) {
    float* scratch = memory_.scratch(worker, floats);
    const float* inputs = scratch;
    std::size_t input_stride = stride;
    if (is_direct) {
      inputs = x.parts.front().at(y * conv.stride, 0);
      input_stride = x.parts.front().pixel * static_cast<std::size_t>(conv.stride);
    } else {
      gather_row(x, conv, y, pixels, stride, scratch);
    }
    // Behind the gathered rows, at the next multiple of 64 bytes.
    auto* codes = reinterpret_cast<std::byte*>(scratch + (gathered + 15) / 16 * 16);
    kernels().packed->quantize(inputs, input_stride, pixels, static_cast<int>(weights.inputs),
                               weights.group_size, format, codes);
    ConvRow row;
    row.out = target.origin + target.row * static_cast<std::size_t>(y);
    row.out_stride = target.pixel;
    row.outputs = conv.outputs;
    row.pixels = pixels;
    row.scale = packed.scale.data();
    row.bias = packed.bias.data();
    row.is_silu = conv.activation == Activation::silu;
    if (residual != nullptr) {
      row.residual = residual->parts.front().at(y, 0);
      row.residual_stride = residual->parts.front().pixel;
    }
    kernels().packed->matmul(weights, 0, weights.stripes, codes, pixels, format, row.out,
                             row.out_stride);
    kernels().images->finish(row);
  });
}

}  // namespace quiver
