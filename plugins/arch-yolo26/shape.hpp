// Sizes of a YOLO26 network, from its config or from the shapes of its tensors alone.
#pragma once

#include <array>
#include <quiver/config.hpp>
#include <quiver/image_weights.hpp>
#include <string>
#include <vector>

namespace quiver::yolo26 {

/// What stands inside a C3k2 module, block after block.
enum class InnerKind { bottleneck, c3k, attention };

/// A C3k2 module: a split, inner blocks on one half, and everything joined.
struct C3k2Shape {
  int inputs = 0;
  int outputs = 0;
  int inner = 0;   ///< Channels of each half.
  int hidden = 0;  ///< Of its bottlenecks, or of the inner width of its C3k blocks.
  int blocks = 0;
  int units = 2;  ///< Bottlenecks of a C3k block.
  InnerKind kind = InnerKind::bottleneck;
};

inline constexpr int kLayers = 24;  ///< The last one is the head.

/// Output channels and inner sizes of every layer. Layers without weights have their channels only.
struct Shape {
  std::array<int, kLayers> outputs{};
  std::array<C3k2Shape, kLayers> c3k2{};  ///< blocks = 0 where the layer is none.
  int attention_blocks = 1;               ///< Of layer 10.
  int pool_width = 0;                     ///< Inner channels of layer 9.
  int attention_width = 0;                ///< Channels of each half of layer 10.
  int box_width = 0;
  int class_width = 0;
  int classes = 0;
  float epsilon = 1e-3F;  ///< Of the batch norms.
  int input_size = 640;
};

/// Where the tensors say what the config leaves out or has wrong, the tensors are right: a folder
/// of the reference package holds but a guess of the scale. Throws Error(bad_input) naming the
/// value or the tensor; weights of other tasks are refused by name.
Shape read_shape(const Config& config, ImageWeights& weights);

/// "model.5" and so on.
std::string layer_name(int index);

}  // namespace quiver::yolo26
