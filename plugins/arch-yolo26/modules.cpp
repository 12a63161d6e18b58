// The modules that a YOLO26 network is put together from.
#include "modules.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace quiver::yolo26 {
namespace {

constexpr int kHeadChannels = 64;  ///< Of attention: a head has so many, and there is at least one.

std::string item(const std::string& list, int index) {
  return list + "." + std::to_string(index);
}

template <class... Tensors>
Tensor join(Ops& ops, Tensors... maps) {
  const std::array<Tensor, sizeof...(Tensors)> parts{maps...};
  return ops.concat(parts);
}

}  // namespace

Conv2d Source::unit(const std::string& name, int inputs, int outputs, int kernel, int stride,
                    bool is_plain) const {
  const std::string norm = name + ".bn";
  Conv2dSpec spec;
  spec.kernel = kernel;
  spec.stride = stride;
  spec.activation = is_plain ? Activation::none : Activation::silu;
  spec.norm = norm;
  spec.norm_epsilon = epsilon;
  if (name == layer_name(0)) spec.role = Role::embedding;
  return weights.conv2d(name + ".conv", outputs, inputs, spec);
}

Conv2d Source::depthwise(const std::string& name, int channels, bool is_plain) const {
  const std::string norm = name + ".bn";
  Conv2dSpec spec;
  spec.kernel = 3;
  spec.is_depthwise = true;
  spec.activation = is_plain ? Activation::none : Activation::silu;
  spec.norm = norm;
  spec.norm_epsilon = epsilon;
  return weights.conv2d(name + ".conv", channels, channels, spec);
}

Bottleneck::Bottleneck(const Source& from, const std::string& at, int inputs, int hidden,
                       int outputs)
    : first(from.unit(at + ".cv1", inputs, hidden, 3)),
      second(from.unit(at + ".cv2", hidden, outputs, 3)),
      adds(inputs == outputs) {}

Tensor Bottleneck::run(ImageOps& ops, Tensor x) const {
  return ops.conv2d(ops.conv2d(x, first, {}), second, adds ? x : Tensor{});
}

C3k::C3k(const Source& from, const std::string& at, int channels, int hidden, int count)
    : first(from.unit(at + ".cv1", channels, hidden, 1)),
      second(from.unit(at + ".cv2", channels, hidden, 1)),
      last(from.unit(at + ".cv3", 2 * hidden, channels, 1)) {
  for (int i = 0; i < count; ++i)
    units.emplace_back(from, item(at + ".m", i), hidden, hidden, hidden);
}

Tensor C3k::run(Ops& ops, Tensor x) const {
  ImageOps& images = image_ops(ops);
  Tensor deep = images.conv2d(x, first, {});
  for (const Bottleneck& unit : units) deep = unit.run(images, deep);
  return images.conv2d(join(ops, deep, images.conv2d(x, second, {})), last, {});
}

PsaBlock::PsaBlock(const Source& from, const std::string& at, int channels) {
  spec.heads = std::max(channels / kHeadChannels, 1);
  spec.value_width = channels / spec.heads;
  spec.key_width = spec.value_width / 2;
  spec.scale = 1.0F / std::sqrt(static_cast<float>(spec.key_width));
  const int width = channels + 2 * spec.key_width * spec.heads;
  qkv = from.unit(at + ".attn.qkv", channels, width, 1, 1, true);
  projection = from.unit(at + ".attn.proj", channels, channels, 1, 1, true);
  position = from.depthwise(at + ".attn.pe", channels, true);
  widen = from.unit(at + ".ffn.0", channels, 2 * channels, 1);
  narrow = from.unit(at + ".ffn.1", 2 * channels, channels, 1, 1, true);
}

Tensor PsaBlock::run(Ops& ops, Tensor x) const {
  ImageOps& images = image_ops(ops);
  const Tensor all = images.conv2d(x, qkv, {});
  const Tensor values = ops.slice_heads(all, spec.heads, 2 * spec.key_width, spec.value_width);
  const Tensor seen = images.conv2d(values, position, images.attention(all, spec));
  const Tensor y = images.conv2d(seen, projection, x);
  return images.conv2d(images.conv2d(y, widen, {}), narrow, y);
}

C3k2::C3k2(const Source& from, const std::string& at, const C3k2Shape& shape)
    : first(from.unit(at + ".cv1", shape.inputs, 2 * shape.inner, 1)),
      last(from.unit(at + ".cv2", (2 + shape.blocks) * shape.inner, shape.outputs, 1)),
      inner(shape.inner) {
  for (int i = 0; i < shape.blocks; ++i) {
    const std::string block = item(at + ".m", i);
    switch (shape.kind) {
      case InnerKind::bottleneck:
        bottlenecks.emplace_back(from, block, inner, shape.hidden, inner);
        break;
      case InnerKind::c3k: c3ks.emplace_back(from, block, inner, shape.hidden, shape.units); break;
      case InnerKind::attention:
        bottlenecks.emplace_back(from, block + ".0", inner, shape.hidden, inner);
        attention.emplace_back(from, block + ".1", inner);
        break;
    }
  }
}

Tensor C3k2::run(Ops& ops, Tensor x) const {
  ImageOps& images = image_ops(ops);
  const Tensor halves = images.conv2d(x, first, {});
  std::vector<Tensor> parts{halves};
  Tensor newest = ops.slice_heads(halves, 1, inner, inner);
  for (const C3k& block : c3ks) parts.push_back(newest = block.run(ops, newest));
  for (std::size_t i = 0; i < bottlenecks.size(); ++i) {
    newest = bottlenecks[i].run(images, newest);
    if (i < attention.size()) newest = attention[i].run(ops, newest);
    parts.push_back(newest);
  }
  return images.conv2d(ops.concat(parts), last, {});
}

Sppf::Sppf(const Source& from, const std::string& at, int inputs, int width, int outputs)
    : first(from.unit(at + ".cv1", inputs, width, 1, 1, true)),
      last(from.unit(at + ".cv2", 4 * width, outputs, 1)),
      adds(inputs == outputs) {}

Tensor Sppf::run(Ops& ops, Tensor x) const {
  constexpr int kWindow = 5;
  ImageOps& images = image_ops(ops);
  const Tensor a = images.conv2d(x, first, {});
  const Tensor b = images.max_pool(a, kWindow);
  const Tensor c = images.max_pool(b, kWindow);
  const Tensor d = images.max_pool(c, kWindow);
  return images.conv2d(join(ops, a, b, c, d), last, adds ? x : Tensor{});
}

C2Psa::C2Psa(const Source& from, const std::string& at, int inputs, int width, int outputs,
             int count)
    : first(from.unit(at + ".cv1", inputs, 2 * width, 1)),
      last(from.unit(at + ".cv2", 2 * width, outputs, 1)),
      inner(width) {
  for (int i = 0; i < count; ++i) blocks.emplace_back(from, item(at + ".m", i), width);
}

Tensor C2Psa::run(Ops& ops, Tensor x) const {
  ImageOps& images = image_ops(ops);
  const Tensor halves = images.conv2d(x, first, {});
  Tensor deep = ops.slice_heads(halves, 1, inner, inner);
  for (const PsaBlock& block : blocks) deep = block.run(ops, deep);
  return images.conv2d(join(ops, ops.slice_heads(halves, 1, 0, inner), deep), last, {});
}

HeadLevel::HeadLevel(const Source& from, const std::string& head, int level, int inputs,
                     const Shape& shape) {
  const Conv2dSpec plain{.role = Role::head};
  const std::string box = item(head + ".one2one_cv2", level);
  const std::string score = item(head + ".one2one_cv3", level);
  boxes[0] = from.unit(box + ".0", inputs, shape.box_width, 3);
  boxes[1] = from.unit(box + ".1", shape.box_width, shape.box_width, 3);
  boxes[2] = from.weights.conv2d(box + ".2", 4, shape.box_width, plain);
  classes[0] = from.depthwise(score + ".0.0", inputs);
  classes[1] = from.unit(score + ".0.1", inputs, shape.class_width, 1);
  classes[2] = from.depthwise(score + ".1.0", shape.class_width);
  classes[3] = from.unit(score + ".1.1", shape.class_width, shape.class_width, 1);
  classes[4] = from.weights.conv2d(score + ".2", shape.classes, shape.class_width, plain);
}

Tensor HeadLevel::run_boxes(ImageOps& ops, Tensor x) const {
  for (const Conv2d conv : boxes) x = ops.conv2d(x, conv, {});
  return x;
}

Tensor HeadLevel::run_classes(ImageOps& ops, Tensor x) const {
  for (const Conv2d conv : classes) x = ops.conv2d(x, conv, {});
  return x;
}

}  // namespace quiver::yolo26
