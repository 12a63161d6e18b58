// The parts of models that look at pictures, beside those of Weights.
#pragma once

#include <quiver/error.hpp>
#include <quiver/image_ops.hpp>
#include <quiver/weights.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// How a convolution computes, and where its parts lie.
struct Conv2dSpec {
  Role role = Role::other;
  int kernel = 1;  ///< 1 or 3 pixels in both directions.
  int stride = 1;
  bool is_depthwise = false;  ///< One filter a channel; outputs = inputs then.
  Activation activation = Activation::none;
  /// Name of the batch norm behind the convolution: NORM.weight, .bias, .running_mean and
  /// .running_var [outputs]. Where the checkpoint has none of them it was folded into the
  /// convolution, whose NAME.bias is there instead. Empty = there is no norm, and NAME.bias is
  /// there.
  std::string_view norm{};
  float norm_epsilon = 1e-5F;  ///< Added to the variance before the root.
};

/// Asked of a Weights by id. What is said there holds here: taking a convolution makes it known to
/// the host, which loads, quantizes, measures and counts it; a quantized one may be stored in any
/// scheme that is installed, its rows of kernel * kernel * inputs values filled up with zeros to a
/// whole number of groups. [load-thread]
class ImageWeights {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.image-weights/1";
  virtual ~ImageWeights() = default;

  /// NAME.weight [outputs, kernel, kernel, inputs], inputs being 1 where it is depthwise. Throws
  /// Error(bad_input) naming the tensor where it is missing or has another shape.
  virtual Conv2d conv2d(std::string_view name, int outputs, int inputs, const Conv2dSpec& spec) = 0;

  /// The shape of a stored kernel, NAME.weight in full, or an empty one where the checkpoint has
  /// none of that name (a bare config has none at all); of a quantized one that of the whole. It
  /// lives as long as this object.
  virtual std::span<const std::int64_t> kernel_shape(std::string_view name) = 0;
};

/// The ImageWeights of a Weights. Throws Error(plugin) where the host knows no pictures.
inline ImageWeights& image_weights(Weights& weights) {
  void* found = weights.extension(ImageWeights::kInterfaceId);
  if (found == nullptr) {
    throw Error(ErrorCode::plugin, "this host knows no models of pictures",
                std::string(ImageWeights::kInterfaceId), "use a newer one");
  }
  return *static_cast<ImageWeights*>(found);
}

}  // namespace quiver
