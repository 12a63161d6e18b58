// Attention of all pixels of a map to each other, as products with panels of keys and of values.
#include <fmt/format.h>

#include <algorithm>
#include <quiver/error.hpp>

#include "core/kernels/kernel_table.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {
namespace {

constexpr auto kLanes = static_cast<std::size_t>(kPanelOutputs);

std::size_t panels_of(int outputs) {
  return (static_cast<std::size_t>(outputs) + kLanes - 1) / kLanes;
}

/// All panels times some pixels that lie in a row.
void multiply_panels(ConvRow row, int outputs, std::size_t panel_stride) {
  const auto panels = static_cast<int>(panels_of(outputs));
  const float* weights = row.weights;
  float* out = row.out;
  row.panel_stride = panel_stride;
  for (int panel = 0; panel < panels; panel += row.panels) {
    row.panels = std::min(2, panels - panel);
    row.weights = weights + static_cast<std::size_t>(panel) * panel_stride;
    row.outputs = std::min(row.panels * kPanelOutputs, outputs - panel * kPanelOutputs);
    row.out = out + panel * kPanelOutputs;
    kernels().images->convolve(row);
  }
}

}  // namespace

void ImagePass::attend(const FeatureMap& qkv, const MapAttentionSpec& spec, int head, Tensor out) {
  const int pixels = qkv.size.height * qkv.size.width;
  const MapPart& in = qkv.parts.front();
  const int first = head * (2 * spec.key_width + spec.value_width);
  const auto key_width = static_cast<std::size_t>(spec.key_width);
  const auto count = static_cast<std::size_t>(pixels);
  // Keys as the weights of a product with `pixels` outputs, values as those of one with
  // `value_width` outputs.
  const std::size_t key_floats = panels_of(pixels) * key_width * kLanes;
  const std::size_t value_floats = panels_of(spec.value_width) * count * kLanes;
  const int buffer = memory_.take(key_floats + value_floats);
  float* keys = memory_.data(buffer);
  float* values = keys + key_floats;
  std::fill_n(keys, key_floats + value_floats, 0.0F);
  for (int y = 0; y < qkv.size.height; ++y) {
    for (int x = 0; x < qkv.size.width; ++x) {
      const auto pixel = static_cast<std::size_t>(y * qkv.size.width + x);
      const float* key = in.at(y, x) + first + spec.key_width;
      float* key_target = keys + pixel / kLanes * key_width * kLanes + pixel % kLanes;
      for (std::size_t i = 0; i < key_width; ++i) key_target[i * kLanes] = key[i] * spec.scale;
      const float* value = key + spec.key_width;
      for (int i = 0; i < spec.value_width; i += kPanelOutputs) {
        std::copy_n(value + i, std::min(kPanelOutputs, spec.value_width - i),
                    values + (static_cast<std::size_t>(i) * count + pixel * kLanes));
      }
    }
  }
  MapPart& target = part(out);
  threads_.run(qkv.size.height, [&](int y, int worker) {
    const auto width = static_cast<std::size_t>(qkv.size.width);
    float* scores = memory_.scratch(worker, width * count);
    const ConvRun queries{in.at(y, 0) + first, in.pixel, spec.key_width};
    ConvRow row;
    row.run_count = 1;
    row.pixels = qkv.size.width;
    row.runs = &queries;
    row.weights = keys;
    row.out = scores;
    row.out_stride = count;
    multiply_panels(row, pixels, key_width * kLanes);
    for (std::size_t p = 0; p < width; ++p) {
      float* line = scores + p * count;
      const float top = kernels().elements->largest(line, pixels);
      const float factor = 1.0F / kernels().elements->exp_sum(line, pixels, top);
      for (std::size_t i = 0; i < count; ++i) line[i] *= factor;
    }
    const ConvRun weights{scores, count, pixels};
    row.runs = &weights;
    row.weights = values;
    row.out = target.at(y, 0) + head * spec.value_width;
    row.out_stride = target.pixel;
    multiply_panels(row, spec.value_width, count * kLanes);
  });
  memory_.give_back(buffer);
}

Tensor ImagePass::attention(Tensor qkv, const MapAttentionSpec& spec) {
  const bool fits = spec.heads > 0 && spec.key_width > 0 && spec.value_width > 0 &&
                    qkv.width == spec.heads * (2 * spec.key_width + spec.value_width);
  if (!fits) {
    throw Error(
        ErrorCode::internal,
        fmt::format("attention of {} heads with {} + {} + {} channels on a map of {}", spec.heads,
                    spec.key_width, spec.key_width, spec.value_width, qkv.width),
        "attention", "report this to the architecture's author");
  }
  const Tensor source = joined(qkv, "attention");
  const Tensor result = make(data(source, "attention").size, spec.heads * spec.value_width);
  for (int head = 0; head < spec.heads; ++head) {
    attend(data(source, "attention"), spec, head, result);
  }
  return result;
}

}  // namespace quiver
