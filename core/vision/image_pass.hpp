// Ops that compute one picture: feature maps, their memory, and the operations on them.
#pragma once

#include <quiver/architecture.hpp>
#include <quiver/image_ops.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "core/kernels/image_kernels.hpp"
#include "core/ops/compute.hpp"
#include "core/threads/thread_pool.hpp"
#include "core/vision/conv_panels.hpp"
#include "core/vision/image_memory.hpp"

namespace quiver {

/// A picture as a model wants it: [height, width, 3], red, green, blue, usually from 0 to 1.
struct PictureView {
  std::span<const float> values;
  int height = 0;
  int width = 0;
};

/// Channels of a map that lie together: pixel (y, x) begins at origin + y * row + x * pixel.
struct MapPart {
  float* origin = nullptr;
  std::size_t pixel = 0;
  std::size_t row = 0;
  int channels = 0;
  int buffer = -1;

  const float* at(int y, int x) const {
    return origin + static_cast<std::ptrdiff_t>(row) * y + static_cast<std::ptrdiff_t>(pixel) * x;
  }
  float* at(int y, int x) {
    return origin + static_cast<std::ptrdiff_t>(row) * y + static_cast<std::ptrdiff_t>(pixel) * x;
  }
};

/// A feature map: parts side by side, so that joining channels copies nothing. Every part has room
/// for a border of one pixel, zeros once a convolution of 3 x 3 has asked for its padding.
struct FeatureMap {
  MapSize size;
  int channels = 0;
  std::vector<MapPart> parts;
  bool has_zeros = false;
};

/// A map kept outside of any pass: [height * width, channels].
struct KeptMap {
  MapSize size;
  int channels = 0;
  std::vector<float> values;
};

/// What a pass computes with. All outlive it.
struct ImageMeans {
  const ImageParts& parts;
  PanelCache& panels;
  ImageMemory& memory;
  ThreadPool& threads;
  ComputeOptions compute{ComputeMode::exact};
};

/// One pass over one picture. It computes no tokens: operations on them are refused by name.
/// [one-call-at-a-time]
class ImagePass : public Ops, public ImageOps {
 public:
  /// Throws Error(internal) where values and sizes of the picture do not agree.
  ImagePass(const PictureView& picture, const ImageMeans& means);
  ~ImagePass() override;
  ImagePass(const ImagePass&) = delete;
  ImagePass& operator=(const ImagePass&) = delete;

  /// Runs a block of the model and frees the maps that its stream no longer holds.
  void run_block(const Model& model, int index, Stream& stream);

  FeatureMap map(Tensor x) const;
  /// The values [pixels, channels] of a map, side by side.
  KeptMap keep(Tensor x) const;
  /// The same values, behind those of `values`.
  void append(Tensor x, std::vector<float>& values) const;
  /// A map with kept values.
  Tensor adopt(const KeptMap& kept);

  Tensor picture() override;
  MapSize size(Tensor x) override;
  Tensor conv2d(Tensor x, Conv2d conv, Tensor residual) override;
  Tensor max_pool(Tensor x, int window) override;
  Tensor upsample(Tensor x, int factor) override;
  Tensor attention(Tensor qkv, const MapAttentionSpec& spec) override;

  Tensor add(Tensor a, Tensor b) override;
  Tensor multiply(Tensor a, Tensor b) override;
  Tensor scale(Tensor x, float factor) override;
  Tensor activate(Tensor x, Activation activation) override;
  Tensor slice_heads(Tensor x, int heads, int begin, int width) override;
  Tensor concat(std::span<const Tensor> parts) override;
  void* extension(std::string_view interface_id) override;
  using Ops::linears;

  Tensor embed(Embedding table) override;
  Tensor linear(Tensor x, Linear weight) override;
  void linears(Tensor x, std::span<const Linear> weights, std::span<Tensor> out) override;
  Tensor gated(Tensor x, Linear gate, Linear up, Activation activation) override;
  Tensor gate(Tensor x, Tensor gates, Activation activation) override;
  Tensor project(Tensor x, Embedding table) override;
  Tensor rms_norm(Tensor x, Norm norm) override;
  Tensor rms_norm_heads(Tensor x, Norm norm) override;
  Tensor rope(Tensor x, Rope rope, int head_dim) override;
  Tensor attention(KvCache cache, Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) override;
  Tensor causal_conv(Tensor x, CausalConv conv, const CausalConvUse& use) override;
  Tensor soft_cap(Tensor x, float cap) override;
  Tensor softmax(Tensor x) override;

 private:
  /// A map whose values and border are unspecified.
  Tensor make(MapSize size, int channels);
  Tensor adopt_values(MapSize size, int channels, std::span<const float> values);
  Tensor add_map(FeatureMap map);
  const FeatureMap& data(Tensor x, const char* operation) const;
  /// Fills the border of a map with zeros.
  void pad(Tensor x);
  /// The same map in one part.
  Tensor joined(Tensor x, const char* operation);
  MapPart& part(Tensor x) { return maps_[static_cast<std::size_t>(x.id)].parts.front(); }
  template <class Function>
  Tensor map_values(Tensor x, const char* operation, const Function& function);
  template <class Function>
  Tensor combine(Tensor a, Tensor b, const char* operation, const Function& function);
  void convolve(const FeatureMap& x, const Conv2dPart& conv, const ConvPanels& panels,
                const FeatureMap* residual, Tensor out);
  void convolve_transformed(const FeatureMap& x, const Conv2dPart& conv, const ConvPanels& panels,
                            const FeatureMap* residual, Tensor out);
  void convolve_packed(const FeatureMap& x, const Conv2dPart& conv, const PackedConv& packed,
                       const FeatureMap* residual, Tensor out);
  void convolve_depthwise(const MapPart& x, const Conv2dPart& conv, const ConvPanels& panels,
                          const FeatureMap* residual, Tensor out);
  void attend(const FeatureMap& qkv, const MapAttentionSpec& spec, int head, Tensor out);
  void end_block(const Stream& stream);

  const ImageParts& parts_;
  PanelCache& panels_;
  ImageMemory& memory_;
  ThreadPool& threads_;
  ComputeOptions compute_;
  std::vector<FeatureMap> maps_;
  Tensor picture_;
};

}  // namespace quiver
