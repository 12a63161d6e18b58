// The convolutions that a model of pictures took, and where their values lie.
#pragma once

#include <cstdint>
#include <quiver/image_weights.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/stored_matrix.hpp"

namespace quiver {

class WeightStore;

struct Conv2dPart {
  std::string name;
  Role role = Role::other;
  int block = -1;
  int outputs = 0;
  int inputs = 0;  ///< Of the map, also where it is depthwise.
  int kernel = 1;
  int stride = 1;
  bool is_depthwise = false;
  Activation activation = Activation::none;
  /// A row an output: [kernel, kernel, inputs] values, and zeros behind them where it is quantized.
  StoredMatrix matrix;
  std::int64_t columns = 0;  ///< Values of a row without those zeros.
  std::vector<float> scale;  ///< Of each output, from the batch norm; empty = 1, or a bare config.
  std::vector<float> bias;   ///< The norm's shift included; empty = a bare config.
  std::int64_t side_parameters = 0;  ///< Trained ones beside the matrix: bias or norm.
};

/// The host's ImageWeights, a part of its WeightStore.
class ImageParts : public ImageWeights {
 public:
  explicit ImageParts(WeightStore& store) : store_(store) {}
  ImageParts(const ImageParts&) = delete;
  ImageParts& operator=(const ImageParts&) = delete;

  Conv2d conv2d(std::string_view name, int outputs, int inputs, const Conv2dSpec& spec) override;
  std::span<const std::int64_t> kernel_shape(std::string_view name) override;

  std::span<const Conv2dPart> convs() const noexcept { return convs_; }
  const Conv2dPart& operator[](Conv2d handle) const {
    return convs_.at(static_cast<std::size_t>(handle.id));
  }

 private:
  StoredMatrix matrix(const Conv2dPart& part);
  StoredMatrix quantized(const Conv2dPart& part);
  void read_norm(const Conv2dSpec& spec, Conv2dPart& part);

  WeightStore& store_;
  std::vector<Conv2dPart> convs_;
  std::vector<std::vector<std::int64_t>> shapes_;  ///< Handed out for quantized tensors.
};

}  // namespace quiver
