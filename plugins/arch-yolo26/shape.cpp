// Sizes of a YOLO26 network, from its config or from the shapes of its tensors alone.
#include "shape.hpp"

#include <algorithm>
#include <cmath>

namespace quiver::yolo26 {
namespace {

constexpr int kMostBlocks = 64;
constexpr int kMostClasses = 65536;

Error invalid(const std::string& what, const std::string& where) {
  return Error(ErrorCode::bad_input, what, "config.json, " + where, "correct the file");
}

struct Scale {
  char letter;
  double depth;
  double width;
  int most_channels;
};
constexpr Scale kScales[] = {{'n', 0.50, 0.25, 1024},
                             {'s', 0.50, 0.50, 1024},
                             {'m', 0.50, 1.00, 512},
                             {'l', 1.00, 1.00, 512},
                             {'x', 1.00, 1.50, 512}};

/// Channels of each layer before scaling; those of joined layers follow from others.
constexpr int kBase[] = {64, 128, 256, 256, 512, 512, 512, 1024, 1024, 1024, 1024, 0,
                         0,  512, 0,   0,   256, 256, 0,   512,  512,  0,    1024};

/// Layers that are C3k2 modules, what their inner width is of their outputs, and blocks before
/// scaling.
struct C3k2Rule {
  int layer;
  double share;
  int blocks;
  InnerKind kind;
};
constexpr C3k2Rule kC3k2[] = {
    {2, 0.25, 2, InnerKind::bottleneck}, {4, 0.25, 2, InnerKind::bottleneck},
    {6, 0.5, 2, InnerKind::c3k},         {8, 0.5, 2, InnerKind::c3k},
    {13, 0.5, 2, InnerKind::c3k},        {16, 0.5, 2, InnerKind::c3k},
    {19, 0.5, 2, InnerKind::c3k},        {22, 0.5, 1, InnerKind::attention}};

Scale read_scale(const Config& config) {
  const std::string letter = config.text("scale", "n");
  const auto found = std::ranges::find_if(kScales, [&](const Scale& scale) {
    return letter.size() == 1 && letter.front() == scale.letter;
  });
  if (found == std::end(kScales)) throw invalid("not one of the scales n, s, m, l and x", "scale");
  Scale scale = *found;
  scale.depth = config.number("depth", scale.depth);
  scale.width = config.number("width", scale.width);
  scale.most_channels = config.integer_or("max_channels", scale.most_channels);
  if (!(scale.depth > 0 && scale.depth <= 16)) throw invalid("not a sensible multiplier", "depth");
  if (!(scale.width > 0 && scale.width <= 16)) throw invalid("not a sensible multiplier", "width");
  return scale;
}

int scaled_channels(int base, const Scale& scale) {
  return static_cast<int>(std::ceil(std::min(base, scale.most_channels) * scale.width / 8)) * 8;
}

int scaled_blocks(int base, const Scale& scale) {
  if (base < 2) return base;
  return std::clamp(static_cast<int>(std::nearbyint(base * scale.depth)), 1, kMostBlocks);
}

/// Channels that layers with no weights pass on, and what C3k2 modules are fed with.
void connect(Shape& shape) {
  auto& out = shape.outputs;
  out[11] = out[10];
  out[12] = out[11] + out[6];
  out[14] = out[13];
  out[15] = out[14] + out[4];
  out[18] = out[17] + out[13];
  out[21] = out[20] + out[10];
  for (const C3k2Rule& rule : kC3k2) {
    const auto layer = static_cast<std::size_t>(rule.layer);
    shape.c3k2[layer].inputs = out[layer - 1];
    shape.c3k2[layer].outputs = out[layer];
  }
}

Shape from_config(const Config& config) {
  const Scale scale = read_scale(config);
  const bool has_c3k_early = scale.letter == 'm' || scale.letter == 'l' || scale.letter == 'x';
  Shape shape;
  for (std::size_t i = 0; i < std::size(kBase); ++i) {
    if (kBase[i] > 0) shape.outputs[i] = scaled_channels(kBase[i], scale);
  }
  for (const C3k2Rule& rule : kC3k2) {
    C3k2Shape& c3k2 = shape.c3k2[static_cast<std::size_t>(rule.layer)];
    c3k2.inner = static_cast<int>(shape.outputs[static_cast<std::size_t>(rule.layer)] * rule.share);
    c3k2.hidden = c3k2.inner / 2;
    c3k2.blocks = scaled_blocks(rule.blocks, scale);
    c3k2.kind = rule.kind;
    if (has_c3k_early && rule.kind == InnerKind::bottleneck) c3k2.kind = InnerKind::c3k;
  }
  shape.pool_width = shape.outputs[9] / 2;
  shape.attention_width = shape.outputs[10] / 2;
  shape.attention_blocks = scaled_blocks(2, scale);
  shape.classes = config.integer_or("nc", std::max(config.count("names"), 0), 0);
  if (shape.classes == 0) shape.classes = 80;  // what the checkpoints of the family tell apart
  shape.box_width = std::max({16, shape.outputs[16] / 4, 4});
  shape.class_width = std::max(shape.outputs[16], std::min(shape.classes, 100));
  return shape;
}

/// Reads sizes out of the shapes of kernels, [outputs, height, width, inputs].
class TensorShapes {
 public:
  explicit TensorShapes(ImageWeights& weights) : weights_(weights) {}

  bool has(const std::string& name) { return !weights_.kernel_shape(name + ".weight").empty(); }

  int outputs(const std::string& name) {
    const auto shape = weights_.kernel_shape(name + ".weight");
    if (shape.size() != 4 || shape[0] < 1 || shape[0] > kMostClasses) {
      throw Error(
          ErrorCode::bad_input,
          "the network's sizes cannot be told: a kernel is missing or has no four dimensions",
          name + ".weight", "use a complete checkpoint");
    }
    return static_cast<int>(shape[0]);
  }

  /// How many of NAME.0, NAME.1, .. there are, going by a kernel that each of them has.
  int count(const std::string& name, const std::string& kernel) {
    int count = 0;
    while (count < kMostBlocks && has(name + "." + std::to_string(count) + kernel)) ++count;
    return count;
  }

 private:
  ImageWeights& weights_;
};

C3k2Shape read_c3k2(TensorShapes& tensors, const std::string& at) {
  C3k2Shape shape;
  shape.inner = tensors.outputs(at + ".cv1.conv") / 2;
  if (tensors.has(at + ".m.0.cv3.conv")) {
    shape.kind = InnerKind::c3k;
    shape.blocks = tensors.count(at + ".m", ".cv3.conv");
    shape.hidden = tensors.outputs(at + ".m.0.cv1.conv");
    shape.units = tensors.count(at + ".m.0.m", ".cv1.conv");
  } else if (tensors.has(at + ".m.0.0.cv1.conv")) {
    shape.kind = InnerKind::attention;
    shape.blocks = tensors.count(at + ".m", ".0.cv1.conv");
    shape.hidden = tensors.outputs(at + ".m.0.0.cv1.conv");
  } else {
    shape.blocks = tensors.count(at + ".m", ".cv1.conv");
    shape.hidden = tensors.outputs(at + ".m.0.cv1.conv");
  }
  return shape;
}

Shape from_tensors(TensorShapes tensors) {
  Shape shape;
  for (const int layer : {0, 1, 3, 5, 7, 17, 20}) {
    shape.outputs[static_cast<std::size_t>(layer)] = tensors.outputs(layer_name(layer) + ".conv");
  }
  for (const int layer : {9, 10}) {
    shape.outputs[static_cast<std::size_t>(layer)] =
        tensors.outputs(layer_name(layer) + ".cv2.conv");
  }
  for (const C3k2Rule& rule : kC3k2) {
    const std::string at = layer_name(rule.layer);
    shape.c3k2[static_cast<std::size_t>(rule.layer)] = read_c3k2(tensors, at);
    shape.outputs[static_cast<std::size_t>(rule.layer)] = tensors.outputs(at + ".cv2.conv");
  }
  shape.pool_width = tensors.outputs(layer_name(9) + ".cv1.conv");
  shape.attention_width = tensors.outputs(layer_name(10) + ".cv1.conv") / 2;
  shape.attention_blocks = tensors.count(layer_name(10) + ".m", ".attn.qkv.conv");
  const std::string head = layer_name(23);
  shape.box_width = tensors.outputs(head + ".one2one_cv2.0.0.conv");
  shape.class_width = tensors.outputs(head + ".one2one_cv3.0.0.1.conv");
  shape.classes = tensors.outputs(head + ".one2one_cv3.0.2");
  return shape;
}

/// What a head with a fourth branch is for: its last kernel gives one angle, or many points.
std::string task_of_fourth_branch(TensorShapes& tensors, const std::string& branch) {
  for (const char* last : {".0.2", ".layer0.layers.2"}) {
    if (tensors.has(branch + last)) {
      return tensors.outputs(branch + last) == 1 ? "turned boxes" : "poses";
    }
  }
  return "poses";  // of the newest generation, with kernels of their own behind the branch
}

/// Heads of the family's other tasks: a kernel that only they have, and what they do.
void refuse_other_tasks(const Config& config, TensorShapes tensors) {
  const auto refuse = [](const std::string& task, const std::string& where) {
    return Error(ErrorCode::bad_input, "the network is made for another task: " + task, where,
                 "only detection is run here; use a checkpoint with a detection head");
  };
  const std::string task = config.text("task", "detect");
  if (task != "detect") throw refuse(task, "config.json, task");
  const std::string head = layer_name(23);
  if (tensors.has(head + ".proto.cv1.conv")) throw refuse("segmentation", head + ".proto");
  for (const char* branch : {".cv4", ".one2one_cv4"}) {
    for (const char* first : {".0.0.conv", ".layer0.layers.0.conv"}) {
      if (!tensors.has(head + branch + first)) continue;
      throw refuse(task_of_fourth_branch(tensors, head + branch), head + branch);
    }
  }
  if (tensors.has(layer_name(10) + ".conv.conv")) {
    throw refuse("classification", layer_name(10) + ".conv");
  }
  if (config.integer_or("reg_max", 1) != 1) {
    throw invalid("boxes as distributions are another network's", "reg_max");
  }
  if (config.text("conv_layout", "OHWI") != "OHWI") {
    throw invalid("kernels must lie as outputs, height, width, inputs", "conv_layout");
  }
}

}  // namespace

std::string layer_name(int index) {
  return "model." + std::to_string(index);
}

Shape read_shape(const Config& config, ImageWeights& weights) {
  const TensorShapes tensors(weights);
  refuse_other_tasks(config, tensors);
  const bool has_tensors = TensorShapes(tensors).has(layer_name(0) + ".conv");
  Shape shape = has_tensors ? from_tensors(tensors) : from_config(config);
  connect(shape);
  if (has_tensors && config.integer_or("nc", shape.classes) != shape.classes) {
    throw invalid("the weights tell " + std::to_string(shape.classes) + " classes apart", "nc");
  }
  if (shape.classes > kMostClasses) throw invalid("more classes than can be", "nc");
  shape.epsilon = static_cast<float>(config.number("bn_eps", 1e-3));
  if (!(shape.epsilon > 0)) throw invalid("not a positive number", "bn_eps");
  shape.input_size = config.integer_or("imgsz", 640);
  return shape;
}

}  // namespace quiver::yolo26
