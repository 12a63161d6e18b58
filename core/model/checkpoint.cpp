// The tensors of a model folder under the names that its architecture takes them by.
#include "core/model/checkpoint.hpp"

#include <algorithm>
#include <numeric>
#include <quiver/error.hpp>

#include "core/model/stored_matrix.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

Error bad(std::string what, std::string_view name) {
  return {ErrorCode::bad_input, std::move(what), printable(name),
          "use a complete checkpoint in one layout"};
}

bool is_float(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

/// Whether the mean of the values is below one half.
bool is_small(const TensorView& tensor) {
  if (!is_float(tensor.dtype) || tensor.data.empty()) return false;
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  decode_floats(tensor.dtype, tensor.data.data(), values.size(), values.data());
  return std::accumulate(values.begin(), values.end(), 0.0) <
         0.5 * static_cast<double>(values.size());
}

/// The sidecar's file in the folder; empty where it has none.
fs::path sidecar_file(const fs::path& folder, const Sidecar& sidecar, const Config& config) {
  std::error_code ignored;
  std::string_view named;
  if (sidecar.config_path != nullptr && config.read_text(sidecar.config_path, named)) {
    const fs::path file = named;
    const bool leaves = file.is_absolute() || std::ranges::find(file, fs::path("..")) != file.end();
    if (leaves || file.empty()) throw bad("config.json names a file outside the folder", named);
    if (fs::is_regular_file(folder / file, ignored)) return folder / file;
  }
  for (const char* file : sidecar.files) {
    if (fs::is_regular_file(folder / file, ignored)) return folder / file;
  }
  return {};
}

/// Whether a convolution of that name lies as [channels, 1, taps].
LayoutTest layout_test(const SafetensorsSet& files, std::span<const TensorRule> rules,
                       const Config& config) {
  return [&files, rules, &config](std::string_view pattern) {
    return std::ranges::any_of(files.tensors(), [&](const TensorView* tensor) {
      return tensor->shape.size() == 3 && tensor->shape[2] != 1 &&
             matches(pattern, apply_prefixes(rules, tensor->name, config));
    });
  };
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& folder, std::span<const TensorRule> rules,
                       const Config& config, std::span<const Sidecar> sidecars)
    : files_(SafetensorsSet::open(folder)) {
  sidecar_files_.reserve(sidecars.size());
  for (const Sidecar& sidecar : sidecars) {
    const fs::path file = sidecar_file(folder, sidecar, config);
    if (file.empty()) continue;
    std::vector<SafetensorsFile> opened;
    opened.push_back(SafetensorsFile::open(file));
    sidecar_files_.push_back(SafetensorsSet::join(std::move(opened), printable(file.native())));
    add_file(sidecar_files_.back(), sidecar.rules, config, &sidecar);
  }
  add_file(files_, rules, config, nullptr);
}

void Checkpoint::add_file(const SafetensorsSet& files, std::span<const TensorRule> rules,
                          const Config& config, const Sidecar* sidecar) {
  // Patterns are asked for again and again, and each costs a walk over all names.
  std::map<std::string, bool, std::less<>> known;
  const LayoutTest test = layout_test(files, rules, config);
  const LayoutTest is_original = [&](std::string_view pattern) {
    const auto found = known.find(pattern);
    if (found != known.end()) return found->second;
    return known.emplace(pattern, test(pattern)).first->second;
  };
  Stacks stacks;
  for (const TensorView* tensor : files.tensors()) {
    size_bytes_ += tensor->data.size();
    const AppliedRule rule = apply_rules(rules, tensor->name, config, is_original);
    if (rule.kind == TensorRuleKind::drop_tower) {
      ModelTensor tower;
      static_cast<TensorView&>(tower) = *tensor;
      const std::string name = apply_prefixes(rules, tensor->name, config);
      if (tower_tensors_.try_emplace(name, std::move(tower)).second) towers_.push_back(tensor);
    }
    if (is_drop(rule.kind)) continue;
    if (rule.kind == TensorRuleKind::stack) {
      if (!stacks[rule.name].emplace(rule.index, tensor).second) {
        throw bad("two tensors of the checkpoint stand for the same one", tensor->name);
      }
      continue;
    }
    add(*tensor, rule, sidecar);
  }
  add_stacks(stacks);
}

void Checkpoint::add(const TensorView& tensor, const AppliedRule& rule, const Sidecar* sidecar) {
  if (rule.kind == TensorRuleKind::split) {
    add_halves(tensor, rule);
    return;
  }
  ModelTensor added;
  static_cast<TensorView&>(added) = tensor;
  added.sidecar = sidecar;
  switch (rule.kind) {
    case TensorRuleKind::rename: break;
    case TensorRuleKind::add_one: added.adds_one = true; break;
    case TensorRuleKind::add_one_if_small: added.adds_one = is_small(tensor); break;
    default:
      throw Error(ErrorCode::internal, "a checkpoint rule needs data to be rewritten",
                  printable(tensor.name), "import the file with 'quiver import' instead");
  }
  insert(rule.name, std::move(added));
}

void Checkpoint::insert(const std::string& name, ModelTensor tensor) {
  const auto [entry, is_new] = tensors_.try_emplace(name, std::move(tensor));
  // A sidecar's tensors come first, and stand for those in the weights.
  if (is_new || entry->second.sidecar != nullptr) return;
  throw bad("two tensors of the checkpoint stand for the same one", name);
}

void Checkpoint::add_halves(const TensorView& tensor, const AppliedRule& rule) {
  if (tensor.shape.size() != 3 || tensor.shape[0] < 1 || tensor.shape[1] % 2 != 0) {
    throw bad("a tensor of the shape " + shape_text(tensor.shape) + " has no halves", tensor.name);
  }
  const std::size_t half = tensor.data.size() / (2 * static_cast<std::size_t>(tensor.shape[0]));
  for (const bool is_second : {false, true}) {
    ModelTensor added;
    added.name = tensor.name;
    added.dtype = tensor.dtype;
    added.shape = {tensor.shape[0], tensor.shape[1] / 2, tensor.shape[2]};
    for (std::size_t at = is_second ? half : 0; at < tensor.data.size(); at += 2 * half) {
      added.pieces.push_back(tensor.data.subspan(at, half));
    }
    insert(is_second ? rule.second : rule.name, std::move(added));
  }
}

void Checkpoint::add_stacks(const Stacks& stacks) {
  for (const auto& [name, members] : stacks) {
    const TensorView& first = *members.begin()->second;
    ModelTensor added;
    added.name = first.name;
    added.dtype = first.dtype;
    added.shape = {static_cast<std::int64_t>(members.size())};
    added.shape.insert(added.shape.end(), first.shape.begin(), first.shape.end());
    int next = 0;
    for (const auto& [index, tensor] : members) {
      if (index != next++ || tensor->dtype != first.dtype || tensor->shape != first.shape) {
        throw bad("the tensors of a stack have gaps or differ in type or shape", tensor->name);
      }
      added.pieces.push_back(tensor->data);
    }
    insert(name, std::move(added));
  }
}

const ModelTensor* Checkpoint::find(std::string_view name) const {
  if (const auto entry = tensors_.find(name); entry != tensors_.end()) return &entry->second;
  const auto tower = tower_tensors_.find(name);
  return tower == tower_tensors_.end() ? nullptr : &tower->second;
}

void Checkpoint::release(std::span<const std::byte> data) const noexcept {
  TensorView view;
  view.data = data;
  files_.release(view);
  for (const SafetensorsSet& files : sidecar_files_) files.release(view);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

}  // namespace quiver
