// All parts that a model took, and where their values lie.
#include "core/model/weight_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

#include "core/model/checkpoint.hpp"

namespace quiver {
namespace {

constexpr DType kFloatTypes[] = {DType::f32, DType::f16, DType::bf16};

bool is_float(DType type) {
  return std::ranges::find(kFloatTypes, type) != std::end(kFloatTypes);
}

Error wrong_shape(const std::string& name, std::span<const std::int64_t> found,
                  const std::string& wanted) {
  return Error(ErrorCode::bad_input,
               fmt::format("a tensor has the shape {} where config.json asks for {}",
                           shape_text(found), wanted),
               name, "use the config.json that belongs to these weights");
}

Error missing_tensor(const std::string& name) {
  return Error(ErrorCode::bad_input, "a tensor is missing from the checkpoint", name,
               "use a complete checkpoint, or the config.json that belongs to these weights");
}

/// What config.json says of a module's quantization: that of the file beside the weights that holds
/// it, its own entry, or the model's.
const nlohmann::json* quantization_of(const ModelConfig& config, const std::string& name,
                                      const Sidecar* sidecar) {
  if (sidecar != nullptr) {
    if (sidecar->quantization == nullptr) return nullptr;
    const auto own = config.json().find(sidecar->quantization);
    return own != config.json().end() && own->is_object() ? &*own : nullptr;
  }
  for (const char* key : {"quantization", "quantization_config"}) {
    const auto table = config.json().find(key);
    if (table == config.json().end() || !table->is_object()) continue;
    const auto entry = table->find(name);
    return entry != table->end() && entry->is_object() ? &*entry : &*table;
  }
  return nullptr;
}

std::string scheme_name(const nlohmann::json* entry) {
  if (entry != nullptr && entry->contains("mode") && entry->at("mode").is_string()) {
    return entry->at("mode").get<std::string>();
  }
  return "affine";  // what the MLX layout means when it names no mode
}

}  // namespace

WeightStore::WeightStore(const Checkpoint* checkpoint, const ModelConfig& config,
                         SchemeSource schemes)
    : checkpoint_(checkpoint), config_(config), schemes_(std::move(schemes)) {}

void WeightStore::begin_block(int index) {
  // More than any real model has: a config that lies must not keep us counting.
  constexpr int kBlockLimit = 4096;
  if (index >= kBlockLimit) {
    throw Error(ErrorCode::bad_input,
                fmt::format("config.json asks for more than {} layers", kBlockLimit), "config.json",
                "correct the file");
  }
  block_ = index;
}

bool WeightStore::has(std::string_view name) const {
  if (checkpoint_ == nullptr) return assumed_.contains(name);
  return checkpoint_->find(name) != nullptr;
}

int WeightStore::shape(std::string_view name, std::span<std::int64_t> sizes) const {
  const ModelTensor* tensor = checkpoint_ != nullptr ? checkpoint_->find(name) : nullptr;
  if (tensor == nullptr) return -1;
  std::copy_n(tensor->shape.begin(), std::min(sizes.size(), tensor->shape.size()), sizes.begin());
  return static_cast<int>(tensor->shape.size());
}

bool WeightStore::read(std::string_view name, std::span<float> values) {
  if (!has(name)) return false;
  const auto stored = vector(std::string(name), static_cast<std::int64_t>(values.size()), false);
  std::ranges::copy(stored, values.begin());
  return true;
}

void* WeightStore::extension(std::string_view interface_id) {
  if (interface_id == ImageWeights::kInterfaceId) return static_cast<ImageWeights*>(&images_);
  if (interface_id == RecurrentWeights::kInterfaceId) return static_cast<RecurrentWeights*>(this);
  if (interface_id == ExpertWeights::kInterfaceId) return static_cast<ExpertWeights*>(this);
  if (interface_id == TowerWeights::kInterfaceId) return static_cast<TowerWeights*>(this);
  return nullptr;
}

std::vector<float> WeightStore::vector(const std::string& name, std::int64_t size,
                                       bool is_optional) {
  if (checkpoint_ == nullptr) return {};
  const ModelTensor* tensor = checkpoint_->find(name);
  if (tensor == nullptr) {
    if (is_optional) return {};
    throw missing_tensor(name);
  }
  if (!is_float(tensor->dtype)) {
    throw Error(ErrorCode::bad_input, "a tensor that must be float32, float16 or bfloat16 is not",
                name, "use a complete checkpoint");
  }
  if (tensor->elements() != size) {
    throw wrong_shape(name, tensor->shape, fmt::format("{} elements", size));
  }
  taken_.insert(name);
  std::vector<float> values(static_cast<std::size_t>(size));
  float* target = values.data();
  for (const auto& part : tensor->parts()) {
    const std::size_t count = part.size() / size_bytes(tensor->dtype);
    decode_floats(tensor->dtype, part.data(), count, target);
    target += count;
  }
  if (tensor->adds_one) {
    for (float& value : values) value += 1.0F;
  }
  return values;
}

StoredMatrix WeightStore::matrix(const std::string& name, std::int64_t rows, std::int64_t columns,
                                 int experts) {
  if (rows <= 0 || columns <= 0 || experts < 0) {
    throw Error(ErrorCode::bad_input,
                fmt::format("config.json gives it {} x {} values", rows, columns), name,
                "correct config.json");
  }
  StoredMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  if (checkpoint_ == nullptr) return matrix;
  const ModelTensor* tensor = checkpoint_->find(name + ".weight");
  if (tensor == nullptr) throw missing_tensor(name + ".weight");
  if (!is_float(tensor->dtype)) return quantized(name, *tensor, rows, columns, experts);
  const auto shape = stored_shape(rows, columns, experts);
  if (tensor->shape != shape || tensor->adds_one) {
    throw wrong_shape(name + ".weight", tensor->shape, shape_text(shape));
  }
  taken_.insert(name + ".weight");
  matrix.dtype = tensor->dtype;
  matrix.dense = tensor->data;
  matrix.pieces = tensor->pieces;
  return matrix;
}

StoredMatrix WeightStore::quantized(const std::string& name, const ModelTensor& codes,
                                    std::int64_t rows, std::int64_t columns, int experts) {
  StoredMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  // The tensors' shapes and types say which format they are in; the config must not contradict.
  const nlohmann::json* entry = quantization_of(config_, name, codes.sidecar);
  matrix.scheme = schemes_(scheme_name(entry));
  const auto stated = [&](const char* key) {
    return entry != nullptr && entry->contains(key) && entry->at(key).is_number_integer()
               ? entry->at(key).get<std::int64_t>()
               : 0;
  };
  for (const QuantFormat& format : matrix.scheme->formats()) {
    for (const DType parameter_type : kFloatTypes) {
      if (!match_format(name, matrix, experts, parameter_type, format)) continue;
      const bool is_entry = entry != nullptr && entry->contains("bits");
      if (is_entry && ((stated("bits") != 0 && stated("bits") != format.bits) ||
                       (stated("group_size") != 0 && stated("group_size") != format.group_size))) {
        throw Error(
            ErrorCode::bad_input,
            fmt::format("config.json says {} bits in groups of {}, the tensors hold {} bits "
                        "in groups of {}",
                        stated("bits"), stated("group_size"), format.bits, format.group_size),
            name, "use the config.json that belongs to these weights");
      }
      for (int i = 0; i < matrix.part_count; ++i) {
        std::array<QuantPart, QuantScheme::kMaxParts> parts;
        matrix.scheme->parts(format, columns, parameter_type, parts);
        taken_.insert(name + parts[static_cast<std::size_t>(i)].suffix);
      }
      return matrix;
    }
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("the tensors of a {} x {} matrix fit no format of the scheme '{}'", rows,
                          columns, matrix.scheme->name()),
              name, "use the config.json that belongs to these weights");
}

bool WeightStore::match_format(const std::string& name, StoredMatrix& matrix, int experts,
                               DType parameter_type, const QuantFormat& format) {
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  const int count = matrix.scheme->parts(format, matrix.columns, parameter_type, parts);
  if (count <= 0 || count > QuantScheme::kMaxParts) return false;
  for (int i = 0; i < count; ++i) {
    const QuantPart& part = parts[static_cast<std::size_t>(i)];
    const ModelTensor* tensor = checkpoint_->find(name + part.suffix);
    if (tensor == nullptr || tensor->dtype != part.dtype || !tensor->pieces.empty() ||
        tensor->shape != stored_shape(matrix.rows, part.columns, experts)) {
      return false;
    }
    matrix.parts[static_cast<std::size_t>(i)] = tensor->data;
  }
  matrix.part_count = count;
  matrix.format = format;
  matrix.dtype = parameter_type;
  return true;
}

Linear WeightStore::linear(std::string_view name, int outputs, int inputs, const LinearSpec& spec) {
  LinearPart part;
  part.name = name;
  part.role = spec.role;
  part.block = block_;
  part.matrix = matrix(part.name, outputs, inputs);
  if (spec.bias != Bias::none) {
    part.bias = vector(part.name + ".bias", outputs, spec.bias == Bias::if_present);
    part.has_bias = spec.bias == Bias::required || !part.bias.empty();
  }
  linears_.push_back(std::move(part));
  return {static_cast<std::int32_t>(linears_.size() - 1)};
}

Embedding WeightStore::embedding(std::string_view name, int rows, int width) {
  EmbeddingPart part;
  part.name = name;
  part.block = block_;
  part.matrix = matrix(part.name, rows, width);
  embeddings_.push_back(std::move(part));
  return {static_cast<std::int32_t>(embeddings_.size() - 1)};
}

Norm WeightStore::norm(std::string_view name, int width, const NormSpec& spec) {
  NormPart part;
  part.name = name;
  part.block = block_;
  part.epsilon = spec.epsilon;
  part.width = width;
  part.has_weight = spec.has_weight;
  if (spec.has_weight) part.weight = vector(part.name + ".weight", width, false);
  norms_.push_back(std::move(part));
  return {static_cast<std::int32_t>(norms_.size() - 1)};
}

CausalConv WeightStore::causal_conv(std::string_view name, int channels, int kernel,
                                    const CausalConvSpec& spec) {
  CausalConvPart part;
  part.name = name;
  part.block = block_;
  part.channels = channels;
  part.kernel = kernel;
  if (channels < 1 || kernel < 1) {
    throw Error(ErrorCode::bad_input,
                fmt::format("config.json gives it {} channels and {} taps", channels, kernel),
                part.name, "correct config.json");
  }
  const std::string weight = part.name + ".weight";
  if (const TensorView* tensor = checkpoint_ != nullptr ? checkpoint_->find(weight) : nullptr) {
    const auto& shape = tensor->shape;
    const bool is_first = shape.size() == 3 && shape[1] == 1 && shape[2] == kernel;
    const bool is_last = shape.size() == 3 && shape[2] == 1 && shape[1] == kernel;
    if (!(is_first || is_last) || shape[0] != channels) {
      throw wrong_shape(weight, shape, fmt::format("[{}, 1, {}]", channels, kernel));
    }
  }
  const auto stored = vector(weight, std::int64_t{channels} * kernel, false);
  part.weight.resize(stored.size());
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const std::size_t channel = i / static_cast<std::size_t>(kernel);
    const std::size_t tap = i % static_cast<std::size_t>(kernel);
    part.weight[tap * static_cast<std::size_t>(channels) + channel] = stored[i];
  }
  part.has_bias = spec.has_bias;
  if (spec.has_bias) part.bias = vector(part.name + ".bias", channels, false);
  causal_convs_.push_back(std::move(part));
  return {static_cast<std::int32_t>(causal_convs_.size() - 1)};
}

Rope WeightStore::rope(const RopeSpec& spec) {
  RopePart part;
  part.inverse_frequencies.assign(spec.inverse_frequencies.begin(), spec.inverse_frequencies.end());
  part.position_of_pair.assign(spec.position_of_pair.begin(), spec.position_of_pair.end());
  part.magnitude = spec.magnitude;
  part.layout = spec.layout;
  ropes_.push_back(std::move(part));
  return {static_cast<std::int32_t>(ropes_.size() - 1)};
}

KvCache WeightStore::kv_cache(const KvCacheSpec& spec) {
  kv_caches_.push_back(
      {block_, spec.kv_heads, spec.head_dim, spec.window, spec.use, spec.hidden_tokens});
  return {static_cast<std::int32_t>(kv_caches_.size() - 1)};
}

void WeightStore::finish() const {
  if (checkpoint_ == nullptr) return;
  for (const std::string& name : checkpoint_->names()) {
    if (taken_.contains(name)) continue;
    throw Error(ErrorCode::bad_input,
                "the checkpoint holds a tensor that the architecture does not know", name,
                "use the config.json that belongs to these weights, or a plugin that knows it");
  }
}

const LinearPart& WeightStore::operator[](Linear handle) const {
  return linears_.at(static_cast<std::size_t>(handle.id));
}
const EmbeddingPart& WeightStore::operator[](Embedding handle) const {
  return embeddings_.at(static_cast<std::size_t>(handle.id));
}
const NormPart& WeightStore::operator[](Norm handle) const {
  return norms_.at(static_cast<std::size_t>(handle.id));
}
const CausalConvPart& WeightStore::operator[](CausalConv handle) const {
  return causal_convs_.at(static_cast<std::size_t>(handle.id));
}
const RopePart& WeightStore::operator[](Rope handle) const {
  return ropes_.at(static_cast<std::size_t>(handle.id));
}
const KvCachePart& WeightStore::operator[](KvCache handle) const {
  return kv_caches_.at(static_cast<std::size_t>(handle.id));
}
}  // namespace quiver
