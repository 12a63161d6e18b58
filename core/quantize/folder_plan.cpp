// Which tensors a quantized folder has, in which files, and what each is made of.
#include "core/quantize/folder_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <quiver/error.hpp>

namespace quiver {
namespace {

std::span<const TensorRule> checkpoint_rules(const LoadedModel& model) {
  const ArchitectureOffer& offer = model.architecture();
  return offer.architecture->checkpoint_rules(offer.offer);
}

/// What most layers have; 0 bits where none is quantized.
LayerFormat usual_format(std::span<const QuantizableLayer> layers,
                         std::span<const LayerFormat> formats) {
  std::map<std::pair<int, int>, int> counts;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerFormat format = written_format(layers[i], formats[i]);
    if (format.bits != 0) ++counts[{format.bits, format.group_size}];
  }
  if (counts.empty()) return {0, 0};
  const auto most = std::ranges::max_element(counts, {}, [](const auto& e) { return e.second; });
  return {most->first.first, most->first.second};
}

class Planner {
 public:
  explicit Planner(const QuantizedFolder& folder) : folder_(folder), model_(folder.source) {
    plan_.layers.assign(folder.layers.begin(), folder.layers.end());
    plan_.formats.assign(folder.formats.begin(), folder.formats.end());
    plan_.usual = usual_format(plan_.layers, plan_.formats);
    for (const CausalConvPart& part : model_.weights().causal_convs()) {
      convolutions_.insert(part.name + ".weight");
    }
  }

  FolderPlan plan() {
    for (const Sidecar& sidecar : model_.sidecars()) add_packed(sidecar);
    for (std::size_t i = 0; i < plan_.layers.size(); ++i) {
      if (plan_.formats[i].bits == kKeepBits) continue;
      for (const std::string& name : stored_names(plan_.layers[i])) layer_of_.emplace(name, i);
    }
    split_into_files(tensors_of(nullptr));
    for (const Sidecar& sidecar : model_.sidecars()) {
      std::vector<PlannedTensor> tensors = tensors_of(&sidecar);
      if (tensors.empty()) continue;
      if (sidecar.files.empty()) {
        throw Error(ErrorCode::internal, "a sidecar has no name for its file", sidecar.tensors,
                    "report this to the architecture's author");
      }
      plan_.files.push_back({sidecar.files.front(), &sidecar, std::move(tensors)});
    }
    return std::move(plan_);
  }

 private:
  /// The sidecar's matrices that are to be packed, as layers: all get one format, since config.json
  /// has one for the whole file. What lies there packed already keeps the format it has.
  void add_packed(const Sidecar& sidecar) {
    std::vector<const LinearPart*> parts;
    std::set<std::pair<int, int>> present;
    for (const LinearPart& part : model_.weights().linears()) {
      if (sidecar_of(model_, part.name + ".weight") != &sidecar) continue;
      const QuantFormat& stored = part.matrix.format;
      if (part.matrix.scheme != nullptr) present.emplace(stored.bits, stored.group_size);
      const bool packs = sidecar.packed != nullptr && matches(sidecar.packed, part.name);
      if (packs || part.matrix.scheme != nullptr) parts.push_back(&part);
    }
    const LayerFormat format = present.size() == 1
                                   ? LayerFormat{present.begin()->first, present.begin()->second}
                                   : plan_.usual;
    if (format.bits == 0) return;
    for (const LinearPart* part : parts) {
      std::array<QuantPart, QuantScheme::kMaxParts> storage{};
      const StoredMatrix& matrix = part->matrix;
      const bool fits = folder_.encoder.scheme->parts({format.bits, format.group_size},
                                                      matrix.columns, matrix.dtype, storage) > 0;
      const bool is_there = matrix.scheme != nullptr && matrix.format.bits == format.bits &&
                            matrix.format.group_size == format.group_size;
      plan_.layers.push_back(
          {part->name, part->role, part->block, &matrix, format.group_size, -1, {}, part->experts});
      plan_.formats.push_back(fits && !is_there ? format : LayerFormat{});
    }
  }

  /// How MLX shapes what is copied: [channels, taps, 1] where it is a depthwise convolution, which
  /// has the bytes of [channels, 1, taps].
  std::vector<std::int64_t> written_shape(const std::string& name,
                                          const ModelTensor& tensor) const {
    if (!convolutions_.contains(name)) return tensor.shape;
    return {tensor.shape[0], tensor.shape[1] * tensor.shape[2], 1};
  }

  /// What is to be added to stored values so that a reader of the new file has the same ones. No
  /// convolution lies there as its authors have it.
  int added(const std::string& name, const ModelTensor& tensor, const Sidecar* sidecar) const {
    const auto rules = sidecar != nullptr ? sidecar->rules : checkpoint_rules(model_);
    const AppliedRule rule = apply_rules(rules, name, model_.config());
    return (tensor.adds_one ? 1 : 0) - (rule.kind == TensorRuleKind::add_one ? 1 : 0);
  }

  /// The tensors of one sidecar, or of the weights, in their order: those of the source, a layer's
  /// new parts in place of its old ones.
  std::vector<PlannedTensor> tensors_of(const Sidecar* sidecar) const {
    const Checkpoint& checkpoint = *model_.checkpoint();
    std::vector<PlannedTensor> tensors;
    std::set<std::size_t> seen;
    for (const std::string& name : checkpoint.names()) {
      if (sidecar_of(model_, name) != sidecar) continue;
      const auto found = layer_of_.find(name);
      if (found == layer_of_.end()) {
        const ModelTensor& tensor = *checkpoint.find(name);
        tensors.push_back({{name, tensor.dtype, written_shape(name, tensor)},
                           &tensor,
                           added(name, tensor, sidecar)});
      } else if (seen.insert(found->second).second) {
        add_parts(found->second, tensors);
      }
    }
    return tensors;
  }

  void add_parts(std::size_t index, std::vector<PlannedTensor>& tensors) const {
    const QuantizableLayer& layer = plan_.layers[index];
    const LayerFormat& format = plan_.formats[index];
    std::array<QuantPart, QuantScheme::kMaxParts> parts{};
    const int count = folder_.encoder.scheme->parts(
        {format.bits, format.group_size}, layer.matrix->columns, layer.matrix->dtype, parts);
    for (int i = 0; i < count; ++i) {
      const QuantPart& part = parts[static_cast<std::size_t>(i)];
      tensors.push_back({{layer.name + part.suffix, part.dtype,
                          stored_shape(layer.matrix->rows, part.columns, layer.experts)},
                         nullptr,
                         0,
                         index,
                         static_cast<std::size_t>(i)});
    }
  }

  /// Files of at most the folder's limit; a layer's parts stay together.
  void split_into_files(std::vector<PlannedTensor> tensors) {
    std::vector<PlannedFile> files;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < tensors.size();) {
      std::size_t end = i + 1;
      std::uint64_t unit = tensors[i].size_bytes();
      while (end < tensors.size() && tensors[end].copied == nullptr &&
             tensors[i].copied == nullptr && tensors[end].layer == tensors[i].layer) {
        unit += tensors[end++].size_bytes();
      }
      if (files.empty() || (bytes > 0 && bytes + unit > folder_.shard_limit)) {
        files.emplace_back();
        bytes = 0;
      }
      bytes += unit;
      for (; i < end; ++i) files.back().tensors.push_back(std::move(tensors[i]));
    }
    for (std::size_t i = 0; i < files.size(); ++i) {
      files[i].name = files.size() == 1
                          ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
      plan_.files.push_back(std::move(files[i]));
    }
  }

  const QuantizedFolder& folder_;
  const LoadedModel& model_;
  std::set<std::string> convolutions_;
  std::map<std::string, std::size_t> layer_of_;
  FolderPlan plan_;
};

}  // namespace

std::uint64_t PlannedTensor::size_bytes() const {
  std::uint64_t bytes = quiver::size_bytes(info.dtype);
  for (const std::int64_t size : info.shape) bytes *= static_cast<std::uint64_t>(size);
  return bytes;
}

std::uint64_t PlannedFile::size_bytes() const {
  std::uint64_t bytes = 0;
  for (const PlannedTensor& tensor : tensors) bytes += tensor.size_bytes();
  return bytes;
}

const Sidecar* sidecar_of(const LoadedModel& model, std::string_view name) {
  for (const Sidecar& sidecar : model.sidecars()) {
    if (matches(sidecar.tensors, name)) return &sidecar;
  }
  return nullptr;
}

std::vector<std::string> stored_names(const QuantizableLayer& layer) {
  const StoredMatrix& matrix = *layer.matrix;
  if (matrix.scheme == nullptr) return {layer.name + ".weight"};
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  const int count = matrix.scheme->parts(matrix.format, matrix.columns, matrix.dtype, parts);
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) {
    names.push_back(layer.name + parts[static_cast<std::size_t>(i)].suffix);
  }
  return names;
}

LayerFormat written_format(const QuantizableLayer& layer, const LayerFormat& format) {
  if (format.bits != kKeepBits) return format;
  if (layer.matrix->scheme == nullptr) return {0, 0};
  return {layer.matrix->format.bits, layer.matrix->format.group_size};
}

FolderPlan plan_folder(const QuantizedFolder& folder) {
  return Planner(folder).plan();
}

}  // namespace quiver
