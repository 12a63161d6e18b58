// The convolutions that a model of pictures took, and where their values lie.
#include "core/model/image_parts.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

#include "core/model/checkpoint.hpp"
#include "core/model/weight_store.hpp"

namespace quiver {
namespace {

constexpr int kMostChannels = 1 << 16;

/// A quantized kernel lies in tensors of its own behind the name of the whole.
std::string stored_name(const std::string& name, const char* suffix) {
  const std::string part = suffix;
  return part == ".weight" ? name + ".weight.data" : name + ".weight" + part;
}

}  // namespace

Conv2d ImageParts::conv2d(std::string_view name, int outputs, int inputs, const Conv2dSpec& spec) {
  Conv2dPart part;
  part.name = name;
  part.role = spec.role;
  part.block = store_.block_;
  part.outputs = outputs;
  part.inputs = inputs;
  part.kernel = spec.kernel;
  part.stride = spec.stride;
  part.is_depthwise = spec.is_depthwise;
  part.activation = spec.activation;
  const bool is_sane = outputs > 0 && inputs > 0 && outputs <= kMostChannels &&
                       inputs <= kMostChannels && (spec.kernel == 1 || spec.kernel == 3) &&
                       spec.stride >= 1 && spec.stride <= 16;
  if (!is_sane || (spec.is_depthwise && (outputs != inputs || spec.kernel != 3))) {
    throw Error(ErrorCode::bad_input,
                fmt::format("a convolution of {} x {} pixels from {} to {} channels by steps of {} "
                            "cannot be computed",
                            spec.kernel, spec.kernel, inputs, outputs, spec.stride),
                part.name, "correct config.json");
  }
  part.columns = std::int64_t{spec.kernel} * spec.kernel * (spec.is_depthwise ? 1 : inputs);
  part.matrix = matrix(part);
  read_norm(spec, part);
  convs_.push_back(std::move(part));
  return {static_cast<std::int32_t>(convs_.size() - 1)};
}

StoredMatrix ImageParts::matrix(const Conv2dPart& part) {
  StoredMatrix matrix;
  matrix.rows = part.outputs;
  matrix.columns = part.columns;
  if (store_.checkpoint_ == nullptr) return matrix;
  const std::string name = part.name + ".weight";
  const TensorView* tensor = store_.checkpoint_->find(name);
  if (tensor == nullptr && store_.has(name + ".data")) return quantized(part);
  const std::array<std::int64_t, 4> wanted{part.outputs, part.kernel, part.kernel,
                                           part.is_depthwise ? 1 : part.inputs};
  if (tensor == nullptr) {
    throw Error(ErrorCode::bad_input, "a tensor is missing from the checkpoint", name,
                "use a complete checkpoint, or the config.json that belongs to these weights");
  }
  if (!std::ranges::equal(tensor->shape, wanted)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("a tensor has the shape {} where the model asks for {}",
                            shape_text(tensor->shape), shape_text(wanted)),
                name, "use the config.json that belongs to these weights");
  }
  if (tensor->dtype != DType::f32 && tensor->dtype != DType::f16 && tensor->dtype != DType::bf16) {
    throw Error(ErrorCode::bad_input, "a kernel that must be float32, float16 or bfloat16 is not",
                name, "use a complete checkpoint");
  }
  store_.taken_.insert(name);
  matrix.dtype = tensor->dtype;
  matrix.dense = tensor->data;
  return matrix;
}

StoredMatrix ImageParts::quantized(const Conv2dPart& part) {
  StoredMatrix matrix;
  matrix.rows = part.outputs;
  matrix.scheme = store_.schemes_("affine");
  const auto& json = store_.config_.json();
  const auto stated = json.find("group_size");
  const std::int64_t group_size =
      stated != json.end() && stated->is_number_integer() ? stated->get<std::int64_t>() : 64;
  for (const QuantFormat& format : matrix.scheme->formats()) {
    if (format.group_size != group_size) continue;
    matrix.columns = (part.columns + group_size - 1) / group_size * group_size;
    std::array<QuantPart, QuantScheme::kMaxParts> parts{};
    const int count = matrix.scheme->parts(format, matrix.columns, DType::f32, parts);
    bool fits = count > 0 && count <= QuantScheme::kMaxParts;
    for (int i = 0; fits && i < count; ++i) {
      const auto& wanted = parts[static_cast<std::size_t>(i)];
      const TensorView* tensor = store_.checkpoint_->find(stored_name(part.name, wanted.suffix));
      fits = tensor != nullptr && tensor->dtype == wanted.dtype && tensor->shape.size() == 2 &&
             tensor->shape[0] == matrix.rows && tensor->shape[1] == wanted.columns;
      if (fits) matrix.parts[static_cast<std::size_t>(i)] = tensor->data;
    }
    if (!fits) continue;
    matrix.part_count = count;
    matrix.format = format;
    for (int i = 0; i < count; ++i) {
      store_.taken_.insert(stored_name(part.name, parts[static_cast<std::size_t>(i)].suffix));
    }
    return matrix;
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("the tensors of a quantized kernel of {} x {} values fit no format with "
                          "groups of {}",
                          part.outputs, part.columns, group_size),
              part.name, "use the config.json that belongs to these weights");
}

void ImageParts::read_norm(const Conv2dSpec& spec, Conv2dPart& part) {
  const bool is_bare = store_.checkpoint_ == nullptr;
  const std::string norm(spec.norm);
  const bool has_norm = !norm.empty() && (is_bare || store_.has(norm + ".weight"));
  part.side_parameters = std::int64_t{part.outputs} * (has_norm ? 2 : 1);
  if (is_bare) return;
  if (!has_norm) {
    part.bias = store_.vector(part.name + ".bias", part.outputs, false);
    return;
  }
  const auto read = [&](const char* suffix) {
    return store_.vector(norm + suffix, part.outputs, false);
  };
  part.scale = read(".weight");
  part.bias = read(".bias");
  const std::vector<float> mean = read(".running_mean");
  const std::vector<float> variance = read(".running_var");
  // A convolution before a norm has no use for a bias of its own, yet some writers keep one.
  const std::vector<float> own = store_.vector(part.name + ".bias", part.outputs, true);
  for (std::size_t i = 0; i < part.scale.size(); ++i) {
    const double factor =
        part.scale[i] / std::sqrt(static_cast<double>(variance[i]) + spec.norm_epsilon);
    part.scale[i] = static_cast<float>(factor);
    const double shift = own.empty() ? 0 : own[i];
    part.bias[i] = static_cast<float>(part.bias[i] + factor * (shift - mean[i]));
    if (!std::isfinite(part.scale[i]) || !std::isfinite(part.bias[i])) {
      throw Error(ErrorCode::bad_input, "a batch norm divides by zero or is not finite", norm,
                  "use a complete checkpoint");
    }
  }
}

std::span<const std::int64_t> ImageParts::kernel_shape(std::string_view name) {
  if (store_.checkpoint_ == nullptr) return {};
  if (const TensorView* tensor = store_.checkpoint_->find(name)) return tensor->shape;
  const TensorView* codes = store_.checkpoint_->find(std::string(name) + ".data");
  if (codes == nullptr) return {};
  std::string stored(codes->name);
  stored.resize(stored.size() - std::string_view(".data").size());
  const auto& json = store_.config_.json();
  const auto shapes = json.find("shapes");
  if (shapes == json.end() || !shapes->is_object() || !shapes->contains(stored)) return {};
  const auto& shape = shapes->at(stored);
  std::vector<std::int64_t> sizes;
  for (const auto& size : shape) {
    if (!size.is_number_integer() || sizes.size() == kMaxDimensions) return {};
    sizes.push_back(size.get<std::int64_t>());
  }
  shapes_.push_back(std::move(sizes));
  return shapes_.back();
}

}  // namespace quiver
