// Convolutions of an image pass: bands of rows that stay in the cache, panel after panel.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <quiver/error.hpp>

#include "core/kernels/kernel_table.hpp"
#include "core/ops/activation.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {
namespace {

// Inputs of a band: they and the weights of a few panels stay in the second-level cache while panel
// after panel passes over them.
constexpr std::size_t kBandBytes = 256U << 10U;

// Weights that stay in the second-level cache by themselves: then a row gets all its outputs at
// once, so that no line of the result is fetched and written twice.
constexpr std::size_t kWeightFloats = (256U << 10U) / sizeof(float);

/// The runs of inputs of the output row `y`.
void find_runs(const FeatureMap& x, const Conv2dPart& conv, int y, std::vector<ConvRun>& runs) {
  runs.clear();
  const auto step = static_cast<std::size_t>(conv.stride);
  const int top = y * conv.stride;
  if (conv.kernel == 1) {
    for (const MapPart& part : x.parts) {
      runs.push_back({part.at(top, 0), part.pixel * step, part.channels});
    }
    return;
  }
  const MapPart& part = x.parts.front();
  const bool is_dense = part.pixel == static_cast<std::size_t>(part.channels);
  for (int dy = -1; dy <= 1; ++dy) {
    if (is_dense) {
      runs.push_back({part.at(top + dy, -1), part.pixel * step, 3 * part.channels});
      continue;
    }
    for (int dx = -1; dx <= 1; ++dx) {
      runs.push_back({part.at(top + dy, dx), part.pixel * step, part.channels});
    }
  }
}

/// Panels for the next product: whole passes of the table's favourite number, an odd rest with it.
int next_panels(int left, int favourite) {
  if (favourite == 1) return 1;
  return left % 2 == 1 && left >= kMaxPanels ? kMaxPanels : std::min(favourite, left);
}

int output_size(int input, int kernel, int stride) {
  return (input + 2 * (kernel / 2) - kernel) / stride + 1;
}

void activate_row(Activation activation, float* values, std::size_t stride, int pixels, int count) {
  for (int p = 0; p < pixels; ++p) {
    for (int c = 0; c < count; ++c) values[c] = activate_value(activation, values[c]);
    values += stride;
  }
}

bool is_fused(Activation activation) {
  return activation == Activation::none || activation == Activation::silu;
}

}  // namespace

void ImagePass::convolve(const FeatureMap& x, const Conv2dPart& conv, const ConvPanels& panels,
                         const FeatureMap* residual, Tensor result) {
  const FeatureMap& out = maps_[static_cast<std::size_t>(result.id)];
  const MapPart& target = out.parts.front();
  const ImageKernels& images = *kernels().images;
  const std::size_t row_bytes = static_cast<std::size_t>(x.size.width) * sizeof(float) *
                                static_cast<std::size_t>(x.channels * conv.stride);
  const int rows = out.size.height;
  const int band = std::clamp(static_cast<int>(kBandBytes / row_bytes), 1, rows);
  int bands = (rows + band - 1) / band;
  // Few bands and many panels: workers share the input and keep weights of their own.
  const bool splits_panels = bands < 2 * threads_.threads() && threads_.threads() > 1 &&
                             panels.panels >= 2 * threads_.threads();
  const int slices = splits_panels ? (panels.panels + images.panels - 1) / images.panels : 1;
  if (!splits_panels && threads_.threads() > 1) bands = std::min(rows, std::max(bands, 4));
  const std::size_t panel_stride = static_cast<std::size_t>(conv.columns) * kPanelOutputs;
  // Panel after panel for some rows.
  const auto compute = [&](int first_row, int last_row, int panel, int last) {
    std::vector<ConvRun> runs;
    while (panel < last) {
      const int first_output = panel * kPanelOutputs;
      ConvRow row;
      row.weights = panels.weights.get() + static_cast<std::size_t>(panel) * panel_stride;
      row.panel_stride = panel_stride;
      row.panels = next_panels(last - panel, images.panels);
      row.outputs = std::min(row.panels * kPanelOutputs, conv.outputs - first_output);
      row.scale = panels.scale.data() + first_output;
      row.bias = panels.bias.data() + first_output;
      row.out_stride = target.pixel;
      row.pixels = out.size.width;
      row.is_silu = conv.activation == Activation::silu;
      for (int y = first_row; y < last_row; ++y) {
        find_runs(x, conv, y, runs);
        row.runs = runs.data();
        row.run_count = static_cast<int>(runs.size());
        row.out = target.origin + target.row * static_cast<std::size_t>(y) + first_output;
        if (residual != nullptr && is_fused(conv.activation)) {
          row.residual = residual->parts.front().at(y, 0) + first_output;
          row.residual_stride = residual->parts.front().pixel;
        }
        images.convolve(row);
      }
      panel += row.panels;
    }
  };
  const bool is_by_row = panel_stride * static_cast<std::size_t>(panels.panels) <= kWeightFloats;
  threads_.run(bands * slices, [&](int task, int) {
    const int index = task / slices;
    const int first_row = static_cast<int>(std::int64_t{rows} * index / bands);
    const int last_row = static_cast<int>(std::int64_t{rows} * (index + 1) / bands);
    const int panel = splits_panels ? task % slices * images.panels : 0;
    const int last = splits_panels ? std::min(panels.panels, panel + images.panels) : panels.panels;
    const int step = is_by_row ? 1 : last_row - first_row;
    for (int y = first_row; y < last_row; y += step) compute(y, y + step, panel, last);
  });
}

void ImagePass::convolve_depthwise(const MapPart& x, const Conv2dPart& conv,
                                   const ConvPanels& panels, const FeatureMap* residual,
                                   Tensor result) {
  const FeatureMap& out = maps_[static_cast<std::size_t>(result.id)];
  const MapPart& target = out.parts.front();
  threads_.run(out.size.height, [&](int y, int) {
    DepthwiseRow row;
    for (int dy = 0; dy < 3; ++dy) row.rows[dy] = x.at(y * conv.stride + dy - 1, -1);
    row.stride = x.pixel;
    row.step = conv.stride;
    row.weights = panels.weights.get();
    row.scale = panels.scale.data();
    row.bias = panels.bias.data();
    row.out = target.origin + target.row * static_cast<std::size_t>(y);
    row.out_stride = target.pixel;
    row.pixels = out.size.width;
    row.channels = conv.outputs;
    row.is_silu = conv.activation == Activation::silu;
    if (residual != nullptr && is_fused(conv.activation)) {
      row.residual = residual->parts.front().at(y, 0);
      row.residual_stride = residual->parts.front().pixel;
    }
    kernels().images->depthwise(row);
  });
}

Tensor ImagePass::conv2d(Tensor x, Conv2d conv, Tensor residual) {
  const Conv2dPart& part = parts_[conv];
  if (x.width != part.inputs) {
    throw Error(ErrorCode::internal,
                fmt::format("a convolution of {} channels on a map of {}", part.inputs, x.width),
                part.name, "report this to the architecture's author");
  }
  const auto format = compute_.map_format();
  const PackedConv* packed = format ? panels_.find_packed(conv, *format) : nullptr;
  // Floats of several maps side by side are for kernels of one pixel; others walk over whole
  // neighbourhoods.
  const bool takes_parts = packed != nullptr || part.kernel == 1;
  const Tensor source = takes_parts ? x : joined(x, "conv2d");
  const MapSize in = data(source, "conv2d").size;
  const MapSize size{output_size(in.height, part.kernel, part.stride),
                     output_size(in.width, part.kernel, part.stride)};
  Tensor other;
  if (residual) {
    other = joined(residual, "conv2d");
    if (other.width != part.outputs || data(other, "conv2d").size != size) {
      throw Error(ErrorCode::internal, "a residual of another shape than the convolution's result",
                  part.name, "report this to the architecture's author");
    }
  }
  if (part.kernel > 1 && packed == nullptr) pad(source);
  const Tensor result = make(size, part.outputs);
  const FeatureMap* added = residual ? &maps_[static_cast<std::size_t>(other.id)] : nullptr;
  const FeatureMap& input = data(source, "conv2d");
  if (packed != nullptr) {
    convolve_packed(input, part, *packed, is_fused(part.activation) ? added : nullptr, result);
  } else if (part.is_depthwise) {
    convolve_depthwise(input.parts.front(), part, panels_.find(conv), added, result);
  } else if (const ConvPanels& panels = panels_.find(conv); panels.scheme != nullptr) {
    convolve_transformed(input, part, panels, is_fused(part.activation) ? added : nullptr, result);
  } else {
    convolve(input, part, panels, added, result);
  }
  if (is_fused(part.activation)) return result;
  MapPart& target = this->part(result);
  threads_.run(size.height, [&](int y, int) {
    activate_row(part.activation, target.at(y, 0), target.pixel, size.width, part.outputs);
  });
  return residual ? add(result, other) : result;
}

}  // namespace quiver
