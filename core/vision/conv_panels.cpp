// Kernels of convolutions in the layout of the float32 kernels, made when they are first used.
#include "core/vision/conv_panels.hpp"

#include <algorithm>
#include <quiver/error.hpp>

namespace quiver {

ConvPanels make_panels(const Conv2dPart& part, const StoredMatrix& matrix) {
  if (!matrix.has_data()) {
    throw Error(ErrorCode::bad_input, "there are no weights to compute with", part.name,
                "give a folder with config.json and safetensors files");
  }
  ConvPanels result;
  const auto outputs = static_cast<std::size_t>(part.outputs);
  const auto columns = static_cast<std::size_t>(part.columns);
  constexpr std::size_t kLanes = kPanelOutputs;
  const std::size_t panels = (outputs + kLanes - 1) / kLanes;
  result.panels = part.is_depthwise ? 0 : static_cast<int>(panels);
  result.bias.assign(panels * kLanes, 0.0F);
  std::ranges::copy(part.bias, result.bias.begin());
  result.scale.assign(panels * kLanes, 1.0F);
  std::ranges::copy(part.scale, result.scale.begin());
  const std::size_t size = part.is_depthwise ? columns * outputs : panels * columns * kLanes;
  result.weights = allocate_floats(size);
  float* weights = result.weights.get();
  std::fill_n(weights, size, 0.0F);
  std::vector<float> row(static_cast<std::size_t>(matrix.columns));
  for (std::size_t o = 0; o < outputs; ++o) {
    matrix.decode(static_cast<std::int64_t>(o), 1, row);
    float* target =
        part.is_depthwise ? weights + o : weights + o / kLanes * columns * kLanes + o % kLanes;
    const std::size_t step = part.is_depthwise ? outputs : kLanes;
    for (std::size_t i = 0; i < columns; ++i) target[i * step] = row[i];
  }
  return result;
}

const ConvPanels& PanelCache::find(Conv2d conv) {
  const auto replaced = replaced_.find(conv.id);
  if (replaced != replaced_.end()) return replaced->second;
  ConvPanels& panels = panels_.at(static_cast<std::size_t>(conv.id));
  if (panels.weights == nullptr) {
    const Conv2dPart& part = parts_[conv];
    panels = make_panels(part, part.matrix);
  }
  return panels;
}

const PackedConv* PanelCache::find_packed(Conv2d conv, ActivationFormat format) {
  const Conv2dPart& part = parts_[conv];
  if (!is_packable(part) || replaced_.contains(conv.id)) return nullptr;
  PackedConv& packed = packed_.at(static_cast<std::size_t>(conv.id));
  if (packed.weights == nullptr || packed.format != format) packed = pack_conv(part, format);
  return &packed;
}

void PanelCache::replace(Conv2d conv, const StoredMatrix* matrix) {
  if (matrix == nullptr) {
    replaced_.erase(conv.id);
  } else {
    replaced_[conv.id] = make_panels(parts_[conv], *matrix);
  }
}

}  // namespace quiver
