// The YOLO26 network: a backbone, a neck that mixes three resolutions, and a head for each.
#include "network.hpp"

#include <quiver/plugin.hpp>

namespace quiver::yolo26 {
namespace {

constexpr int kHeadLayer = kLayers - 1;
constexpr int kLevelLayers[] = {16, 19, 22};
constexpr int kStrides[] = {8, 16, 32};

/// Results of earlier layers that later ones read, each in a side of the stream until its last
/// reader has run.
struct Kept {
  int layer;
  std::size_t side;
  int last_reader;
};
constexpr Kept kKept[] = {{4, 0, 15},  {6, 1, 12},          {10, 2, 21},
                          {13, 3, 18}, {16, 4, kHeadLayer}, {19, 5, kHeadLayer}};

Tensor& kept(Stream& stream, int layer) {
  for (const Kept& row : kKept) {
    if (row.layer == layer) return stream.side[row.side];
  }
  return stream.x;
}

std::vector<std::string> read_names(const Config& config, int classes) {
  std::vector<std::string> names;
  for (int i = 0; i < classes; ++i) {
    const std::string number = std::to_string(i);
    names.push_back(config.text("names." + number, "class" + number));
  }
  return names;
}

}  // namespace

Network::Network(const Config& config, Weights& weights)
    : shape_(read_shape(config, image_weights(weights))),
      names_(read_names(config, shape_.classes)) {
  constexpr int kColours = 3;
  const Source from{image_weights(weights), shape_.epsilon};
  const auto& out = shape_.outputs;
  for (int layer = 0; layer < kHeadLayer; ++layer) {
    weights.begin_block(layer);
    const auto i = static_cast<std::size_t>(layer);
    const std::string at = layer_name(layer);
    const int inputs = layer == 0 ? kColours : out[i - 1];
    switch (layer) {
      case 0:
      case 1:
      case 3:
      case 5:
      case 7:
      case 17:
      case 20: steps_.emplace(layer, from.unit(at, inputs, out[i], 3, 2)); break;
      case 9: pool_.emplace_back(from, at, inputs, shape_.pool_width, out[i]); break;
      case 10:
        attention_.emplace_back(from, at, inputs, shape_.attention_width, out[i],
                                shape_.attention_blocks);
        break;
      default:
        if (shape_.c3k2[i].blocks > 0) c3k2s_.emplace(layer, C3k2(from, at, shape_.c3k2[i]));
    }
  }
  weights.begin_block(kHeadLayer);
  for (int level = 0; level < 3; ++level) {
    const int inputs = out[static_cast<std::size_t>(kLevelLayers[level])];
    heads_.emplace_back(from, layer_name(kHeadLayer), level, inputs, shape_);
  }
}

Stream Network::begin(Ops& ops) const {
  return {.x = image_ops(ops).picture(), .side = {}};
}

void Network::block(int index, Ops& ops, Stream& stream) const {
  const auto join = [&](int other) {
    const std::array<Tensor, 2> parts{stream.x, kept(stream, other)};
    return ops.concat(parts);
  };
  switch (index) {
    case 9: stream.x = pool_.front().run(ops, stream.x); break;
    case 10: stream.x = attention_.front().run(ops, stream.x); break;
    case 11:
    case 14: stream.x = image_ops(ops).upsample(stream.x, 2); break;
    case 12: stream.x = join(6); break;
    case 15: stream.x = join(4); break;
    case 18: stream.x = join(13); break;
    case 21: stream.x = join(10); break;
    case kHeadLayer: head(ops, stream); break;
    default:
      if (const auto step = steps_.find(index); step != steps_.end()) {
        stream.x = image_ops(ops).conv2d(stream.x, step->second, {});
      } else {
        stream.x = c3k2s_.at(index).run(ops, stream.x);
      }
  }
  for (const Kept& row : kKept) {
    if (row.layer == index) stream.side[row.side] = stream.x;
    if (row.last_reader == index && index != kHeadLayer) stream.side[row.side] = {};
  }
}

void Network::head(Ops& ops, Stream& stream) const {
  ImageOps& images = image_ops(ops);
  std::array<Tensor, 6> results;
  for (std::size_t level = 0; level < heads_.size(); ++level) {
    const Tensor x = kept(stream, kLevelLayers[level]);
    results[2 * level] = heads_[level].run_boxes(images, x);
    results[2 * level + 1] = heads_[level].run_classes(images, x);
  }
  for (std::size_t i = 0; i < results.size(); ++i) stream.side[i] = results[i];
}

std::array<DetectorLevel, Detector::kMaxLevels> Network::levels(const Stream& stream) const {
  std::array<DetectorLevel, kMaxLevels> levels;
  for (std::size_t i = 0; i < heads_.size(); ++i) {
    levels[i] = {stream.side[2 * i], stream.side[2 * i + 1], kStrides[i]};
  }
  return levels;
}

DetectorInfo Network::info() const {
  return {.multiple = kStrides[2],
          .input_size = shape_.input_size,
          .class_count = shape_.classes,
          .padding = 114};
}

std::string_view Network::class_name(int index) const {
  return names_.at(static_cast<std::size_t>(index));
}

const void* Network::extension(std::string_view interface_id) const {
  return provide<Detector>(interface_id, *this);
}

}  // namespace quiver::yolo26
