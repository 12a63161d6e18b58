// A model folder brought to life: config, checkpoint, and the model that an architecture built.
#include "core/model/loaded_model.hpp"

#include <quiver/error.hpp>

namespace quiver {

std::shared_ptr<const LoadedModel> LoadedModel::load(const std::filesystem::path& folder,
                                                     const ArchitectureSource& architectures,
                                                     const SchemeSource& schemes) {
  return std::shared_ptr<const LoadedModel>(new LoadedModel(folder, architectures, schemes, false));
}

std::shared_ptr<const LoadedModel> LoadedModel::describe(
    const std::filesystem::path& path, const ArchitectureSource& architectures,
    const SchemeSource& schemes, std::set<std::string, std::less<>> assumed) {
  return std::shared_ptr<const LoadedModel>(
      new LoadedModel(path, architectures, schemes, true, std::move(assumed)));
}

LoadedModel::LoadedModel(const std::filesystem::path& path, const ArchitectureSource& architectures,
                         const SchemeSource& schemes, bool is_bare,
                         std::set<std::string, std::less<>> assumed)
    : folder_(path),
      config_(ModelConfig::load(path)),
      architecture_(architectures(config_.model_type())) {
  const Architecture& architecture = *architecture_.architecture;
  if (!is_bare) {
    checkpoint_ = std::make_unique<Checkpoint>(
        folder_, architecture.checkpoint_rules(architecture_.offer), config_, sidecars());
  }
  weights_ = std::make_unique<WeightStore>(checkpoint_.get(), config_, schemes);
  weights_->assume(std::move(assumed));
  model_.reset(architecture.create(architecture_.offer, config_, *weights_));
  if (model_ == nullptr || model_->block_count() < 0) {
    throw Error(ErrorCode::plugin, "the architecture returned no model", architecture_.plugin,
                "report this to the plugin's author");
  }
  weights_->finish();
}

std::span<const Sidecar> LoadedModel::sidecars() const {
  const void* found = architecture_.architecture->extension(Sidecars::kInterfaceId);
  if (found == nullptr) return {};
  return static_cast<const Sidecars*>(found)->sidecars(architecture_.offer);
}

bool LoadedModel::is_text() const noexcept {
  return model_->extension(TextModel::kInterfaceId) != nullptr;
}

const TextModel& LoadedModel::text() const {
  const void* text = model_->extension(TextModel::kInterfaceId);
  if (text == nullptr) {
    throw Error(ErrorCode::usage, "the model does not read or write text", folder_.string(),
                "use the command for its kind of model");
  }
  return *static_cast<const TextModel*>(text);
}

}  // namespace quiver
