// The modules that a YOLO26 network is put together from.
#pragma once

#include <quiver/image_ops.hpp>
#include <quiver/image_weights.hpp>
#include <string>
#include <vector>

#include "shape.hpp"

namespace quiver::yolo26 {

/// What modules take their convolutions from.
struct Source {
  ImageWeights& weights;
  float epsilon;

  /// A convolution with its batch norm, and SiLU unless `is_plain`: NAME.conv and NAME.bn.
  Conv2d unit(const std::string& name, int inputs, int outputs, int kernel, int stride = 1,
              bool is_plain = false) const;
  /// The same with a filter a channel, 3 x 3.
  Conv2d depthwise(const std::string& name, int channels, bool is_plain = false) const;
};

struct Bottleneck {
  Conv2d first, second;
  bool adds = false;

  Bottleneck(const Source& from, const std::string& at, int inputs, int hidden, int outputs);
  Tensor run(ImageOps& ops, Tensor x) const;
};

struct C3k {
  Conv2d first, second, last;
  std::vector<Bottleneck> units;

  C3k(const Source& from, const std::string& at, int channels, int hidden, int count);
  Tensor run(Ops& ops, Tensor x) const;
};

/// Attention of all pixels, then two plain convolutions, each added to what came in.
struct PsaBlock {
  Conv2d qkv, position, projection, widen, narrow;
  MapAttentionSpec spec;

  PsaBlock(const Source& from, const std::string& at, int channels);
  Tensor run(Ops& ops, Tensor x) const;
};

/// Either a bottleneck, a C3k, or a bottleneck followed by attention, as often as the shape says.
struct C3k2 {
  Conv2d first, last;
  int inner = 0;
  std::vector<Bottleneck> bottlenecks;
  std::vector<C3k> c3ks;
  std::vector<PsaBlock> attention;

  C3k2(const Source& from, const std::string& at, const C3k2Shape& shape);
  Tensor run(Ops& ops, Tensor x) const;
};

/// Three poolings one after another, beside what they pool.
struct Sppf {
  Conv2d first, last;
  bool adds = false;

  Sppf(const Source& from, const std::string& at, int inputs, int width, int outputs);
  Tensor run(Ops& ops, Tensor x) const;
};

struct C2Psa {
  Conv2d first, last;
  int inner = 0;
  std::vector<PsaBlock> blocks;

  C2Psa(const Source& from, const std::string& at, int inputs, int width, int outputs, int count);
  Tensor run(Ops& ops, Tensor x) const;
};

/// Boxes and classes of one level.
struct HeadLevel {
  Conv2d boxes[3];
  Conv2d classes[5];

  HeadLevel(const Source& from, const std::string& head, int level, int inputs, const Shape& shape);
  Tensor run_boxes(ImageOps& ops, Tensor x) const;
  Tensor run_classes(ImageOps& ops, Tensor x) const;
};

}  // namespace quiver::yolo26
