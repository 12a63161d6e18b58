// The tensors of a model folder under the names that its architecture takes them by.
#include "core/model/checkpoint.hpp"

#include <quiver/error.hpp>

#include "core/model/tensor_rules.hpp"

namespace quiver {

Checkpoint::Checkpoint(const std::filesystem::path& folder, std::span<const TensorRule> rules,
                       const Config& config)
    : files_(SafetensorsSet::open(folder)) {
  for (const TensorView* tensor : files_.tensors()) {
    size_bytes_ += tensor->data.size();
    const std::string stored(tensor->name);
    const AppliedRule rule = apply_rules(rules, stored, config);
    if (rule.kind == TensorRuleKind::drop_tower) towers_.push_back(tensor);
    if (is_drop(rule.kind)) continue;
    if (rule.kind != TensorRuleKind::rename) {
      throw Error(ErrorCode::internal, "a checkpoint rule needs data to be rewritten", stored,
                  "import the file with 'quiver import' instead");
    }
    if (!tensors_.emplace(rule.name, tensor).second) {
      throw Error(ErrorCode::bad_input, "two tensors of the checkpoint stand for the same one",
                  rule.name, "use a complete checkpoint in one layout");
    }
  }
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto entry = tensors_.find(name);
  return entry == tensors_.end() ? nullptr : entry->second;
}

void Checkpoint::release(std::span<const std::byte> data) const noexcept {
  TensorView view;
  view.data = data;
  files_.release(view);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

}  // namespace quiver
