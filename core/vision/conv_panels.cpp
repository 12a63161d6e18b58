// Kernels of convolutions in the layout of the float32 kernels, made when they are first used.
#include "core/vision/conv_panels.hpp"

#include <algorithm>
#include <array>
#include <quiver/error.hpp>

namespace quiver {
namespace {

/// Below these the transforms cost more than the products that they spare.
constexpr int kLeastPointInputs = 8;
constexpr int kLeastPointOutputs = 8;

bool wants_points(const Conv2dPart& part) {
  return part.kernel == 3 && part.stride == 1 && !part.is_depthwise &&
         part.inputs >= kLeastPointInputs && part.outputs >= kLeastPointOutputs;
}

/// Row i: what three values of a kernel in a line become at point i.
std::array<std::array<double, 3>, kWinogradIn> point_rows() {
  const std::array<double, kWinogradIn - 1> points{0, kWinogradNear, -kWinogradNear, kWinogradFar,
                                                   -kWinogradFar};
  std::array<std::array<double, 3>, kWinogradIn> rows{};
  for (std::size_t i = 0; i < points.size(); ++i) {
    double product = 1;
    for (std::size_t j = 0; j < points.size(); ++j) {
      if (j != i) product *= points[i] - points[j];
    }
    rows[i] = {1 / product, points[i] / product, points[i] * points[i] / product};
  }
  rows.back() = {0, 0, 1};
  return rows;
}

/// A row of a kernel, [3][3][inputs], at all points: value i of point p goes to
/// target[p * plane + i * 16].
void write_points(std::span<const float> row, std::size_t inputs, std::size_t plane,
                  float* target) {
  static const auto kRows = point_rows();
  for (std::size_t i = 0; i < inputs; ++i) {
    for (std::size_t y = 0; y < kWinogradIn; ++y) {
      std::array<double, 3> line{};
      for (std::size_t dy = 0; dy < 3; ++dy) {
        for (std::size_t dx = 0; dx < 3; ++dx) {
          line[dx] += kRows[y][dy] * row[(dy * 3 + dx) * inputs + i];
        }
      }
      for (std::size_t x = 0; x < kWinogradIn; ++x) {
        const auto& to = kRows[x];
        target[(y * kWinogradIn + x) * plane + i * kPanelOutputs] =
            static_cast<float>(to[0] * line[0] + to[1] * line[1] + to[2] * line[2]);
      }
    }
  }
}

}  // namespace

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
  result.has_points = wants_points(part);
  const auto inputs = static_cast<std::size_t>(part.inputs);
  const std::size_t plane = panels * inputs * kLanes;  // of one point
  const std::size_t size = part.is_depthwise   ? columns * outputs
                           : result.has_points ? kWinogradPoints * plane
                                               : panels * columns * kLanes;
  result.weights = allocate_floats(size);
  float* weights = result.weights.get();
  std::fill_n(weights, size, 0.0F);
  std::vector<float> row(static_cast<std::size_t>(matrix.columns));
  for (std::size_t o = 0; o < outputs; ++o) {
    matrix.decode(static_cast<std::int64_t>(o), 1, row);
    if (result.has_points) {
      write_points(row, inputs, plane, weights + o / kLanes * inputs * kLanes + o % kLanes);
      continue;
    }
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

const PackedConv* PanelCache::find_packed(Conv2d conv) {
  const Conv2dPart& part = parts_[conv];
  if (!is_packable(part) || replaced_.contains(conv.id)) return nullptr;
  PackedConv& packed = packed_.at(static_cast<std::size_t>(conv.id));
  if (packed.memory == nullptr) packed = pack_conv(part);
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
