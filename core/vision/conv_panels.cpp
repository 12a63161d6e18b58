// Kernels of convolutions in the layout of the float32 kernels, made when they are first used.
#include "core/vision/conv_panels.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <quiver/error.hpp>

namespace quiver {
namespace {

using LineRows = std::array<std::array<double, 3>, kMostWinogradIn>;

/// How a convolution is transformed, if that pays: below these channels the transforms cost more
/// than the products that they spare, and a transformed kernel takes 4 or 9 times the memory.
const WinogradScheme* scheme_of(const Conv2dPart& part) {
  constexpr int kLeastChannels[] = {8, 32};  // by steps of one, of two
  constexpr std::int64_t kMostFloats[] = {4 << 20U, 3 << 19U};
  if (part.kernel != 3 || part.stride > 2 || part.is_depthwise) return nullptr;
  const auto which = static_cast<std::size_t>(part.stride - 1);
  const WinogradScheme& scheme = kWinogradSchemes[which];
  const std::int64_t floats = std::int64_t{scheme.in} * scheme.in * part.inputs * part.outputs;
  const bool pays = std::min(part.inputs, part.outputs) >= kLeastChannels[which];
  return pays && floats <= kMostFloats[which] ? &scheme : nullptr;
}

/// The values of `taps` of a kernel's three, `step` apart, as a polynomial at `points` and
/// infinity.
void add_points(LineRows& rows, std::span<const double> points, std::size_t taps,
                std::size_t step) {
  for (std::size_t i = 0; i < points.size(); ++i) {
    double product = 1;
    for (std::size_t j = 0; j < points.size(); ++j) {
      if (j != i) product *= points[i] - points[j];
    }
    double power = 1 / product;
    for (std::size_t tap = 0; tap < taps; ++tap, power *= points[i]) rows[i][tap * step] = power;
  }
  rows[points.size()][2] = 1;  // at infinity
}

/// Row i: what three values of a kernel in a line become as value i of a scheme.
LineRows line_rows(const WinogradScheme& scheme) {
  LineRows rows{};
  if (&scheme == &kWinogradSchemes[0]) {
    add_points(rows, std::array{0.0, kWinogradNear, -kWinogradNear, kWinogradFar, -kWinogradFar}, 3,
               1);
  } else {
    add_points(rows, std::array{0.0, kWinogradEven, -kWinogradEven, kWinogradLone}, 2, 2);
    for (std::size_t i = 5; i < rows.size(); ++i) rows[i][1] = 1;
  }
  return rows;
}

/// Writes kernels, [3][3][inputs] for each output, into panels of transformed ones.
class TransformedKernels {
 public:
  TransformedKernels(const WinogradScheme& scheme, std::size_t inputs, std::size_t panels,
                     float* target)
      : scheme_(scheme),
        layout_(scheme),
        rows_(line_rows(scheme)),
        inputs_(inputs),
        panels_(panels),
        target_(target) {}

  void write(std::size_t output, std::span<const float> kernel) {
    std::size_t begin = 0;  // of the sum's panels
    std::vector<float*> begins;
    for (int sum = 0; sum < layout_.sums(); ++sum) {
      const std::size_t panel = static_cast<std::size_t>(layout_.width(sum)) * inputs_ * kLanes;
      begins.push_back(target_ + begin + output / kLanes * panel + output % kLanes);
      begin += panels_ * panel;
    }
    const auto in = static_cast<std::size_t>(scheme_.in);
    for (std::size_t value = 0; value < in * in; ++value) {
      if (value % in == 0) transform_columns(kernel, rows_[value / in]);
      const auto& across = rows_[value % in];
      const int which = static_cast<int>(value);
      float* target = begins[static_cast<std::size_t>(layout_.sum_of(which))] +
                      static_cast<std::size_t>(layout_.place_of(which)) * inputs_ * kLanes;
      for (std::size_t i = 0; i < inputs_; ++i) {
        const double sum = across[0] * columns_[i] + across[1] * columns_[inputs_ + i] +
                           across[2] * columns_[2 * inputs_ + i];
        target[i * kLanes] = static_cast<float>(sum);
      }
    }
  }

 private:
  static constexpr std::size_t kLanes = kPanelOutputs;

  /// The kernel's three columns, each summed up by one row of the scheme.
  void transform_columns(std::span<const float> kernel, const std::array<double, 3>& down) {
    const std::size_t row = 3 * inputs_;
    columns_.resize(row);
    for (std::size_t i = 0; i < row; ++i) {
      columns_[i] = down[0] * kernel[i] + down[1] * kernel[row + i] + down[2] * kernel[2 * row + i];
    }
  }

  const WinogradScheme& scheme_;
  SumLayout layout_;
  LineRows rows_;
  std::size_t inputs_;
  std::size_t panels_;
  float* target_;
  std::vector<double> columns_;
};

}  // namespace

SumLayout::SumLayout(const WinogradScheme& scheme)
    : widths_(static_cast<std::size_t>(scheme.sums * scheme.sums), 0) {
  for (int y = 0; y < scheme.in; ++y) {
    for (int x = 0; x < scheme.in; ++x) {
      const int sum = scheme.sum_of[static_cast<std::size_t>(y)] * scheme.sums +
                      scheme.sum_of[static_cast<std::size_t>(x)];
      sum_of_.push_back(sum);
      place_of_.push_back(widths_[static_cast<std::size_t>(sum)]++);
    }
  }
}

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
  result.scheme = scheme_of(part);
  const auto inputs = static_cast<std::size_t>(part.inputs);
  std::size_t size = part.is_depthwise ? columns * outputs : panels * columns * kLanes;
  if (result.scheme != nullptr)
    size = size / 9 * static_cast<std::size_t>(result.scheme->in * result.scheme->in);
  result.weights = allocate_floats(size);
  float* weights = result.weights.get();
  std::fill_n(weights, size, 0.0F);
  std::optional<TransformedKernels> transformed;
  if (result.scheme != nullptr) transformed.emplace(*result.scheme, inputs, panels, weights);
  std::vector<float> row(static_cast<std::size_t>(matrix.columns));
  for (std::size_t o = 0; o < outputs; ++o) {
    matrix.decode(static_cast<std::int64_t>(o), 1, row);
    if (transformed) {
      transformed->write(o, row);
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
