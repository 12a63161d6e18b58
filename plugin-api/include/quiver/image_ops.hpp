// The maths on feature maps, beside that of Ops.
#pragma once

#include <quiver/error.hpp>
#include <quiver/handles.hpp>
#include <quiver/ops.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace quiver {

/// A convolution of a model, taken from ImageWeights. A default-made one is "none".
struct Conv2d {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};

/// Pixels of a feature map.
struct MapSize {
  int height = 0;
  int width = 0;
  bool operator==(const MapSize&) const = default;
};

/// How the channels of attention() are laid out: for each head `key_width` of the query, as many of
/// the key, then `value_width` of the value.
struct MapAttentionSpec {
  int heads = 1;
  int key_width = 0;
  int value_width = 0;
  float scale = 1.0F;  ///< Multiplies q k^T before the softmax.
};

/// Asked of an Ops by id. A feature map is a Tensor whose rows are its pixels, row by row of the
/// picture, and whose columns are its channels; the host knows its height. So add, activate, concat
/// (of channels) and slice_heads with one head (a slice of channels) of Ops are operations on maps
/// too. A shape that does not fit is an Error(internal) that names the operation.
/// [one-call-at-a-time]
class ImageOps {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.image-ops/1";
  virtual ~ImageOps() = default;

  /// The picture of this pass: [height * width, channels], values as the model wants them.
  virtual Tensor picture() = 0;

  virtual MapSize size(Tensor map) = 0;

  /// activation(convolution of x, padded with zeros by kernel / 2, + bias), batch norm included,
  /// plus `residual` where it is given, a map like the result.
  virtual Tensor conv2d(Tensor x, Conv2d conv, Tensor residual) = 0;

  /// The largest value in a window of `window` x `window` pixels around each, what is outside of
  /// the map left out. `window` is odd.
  virtual Tensor max_pool(Tensor x, int window) = 0;

  /// Every pixel `factor` times in both directions.
  virtual Tensor upsample(Tensor x, int factor) = 0;

  /// Attention of all pixels to all pixels, by head -> [pixels, heads * value_width].
  virtual Tensor attention(Tensor qkv, const MapAttentionSpec& spec) = 0;
};

/// The ImageOps of an Ops. Throws Error(internal) where its host computes no pictures.
inline ImageOps& image_ops(Ops& ops) {
  void* found = ops.extension(ImageOps::kInterfaceId);
  if (found == nullptr) {
    throw Error(ErrorCode::internal, "a pass without a picture",
                std::string(ImageOps::kInterfaceId), "use the command for this kind of model");
  }
  return *static_cast<ImageOps*>(found);
}

}  // namespace quiver
