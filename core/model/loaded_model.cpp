// A model folder brought to life: config, checkpoint, and the model that an architecture built.
#include "core/model/loaded_model.hpp"

#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <vector>

#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

/// What config.json says, or what the tensors tell where there is none.
ModelConfig config_of(const std::filesystem::path& folder, const WeightsRecognizer& recognizer) {
  std::error_code ignored;
  const bool is_told = !std::filesystem::is_directory(folder, ignored) ||
                       std::filesystem::exists(folder / "config.json", ignored);
  if (is_told || !recognizer) return ModelConfig::load(folder);
  const SafetensorsSet files = SafetensorsSet::open(folder);
  std::vector<std::string_view> names;
  for (const TensorView* tensor : files.tensors()) names.push_back(tensor->name);
  const std::string model_type = recognizer(names);
  if (model_type.empty()) {
    throw Error(ErrorCode::bad_input,
                "there is no config.json, and no family knows the tensors by their names",
                printable(folder.native(), 4096), "give a folder with config.json");
  }
  return ModelConfig::parse(nlohmann::json({{"model_type", model_type}}).dump(), folder.string());
}

}  // namespace

std::shared_ptr<const LoadedModel> LoadedModel::load(const std::filesystem::path& folder,
                                                     const ArchitectureSource& architectures,
                                                     const SchemeSource& schemes,
                                                     const WeightsRecognizer& recognizer) {
  return std::shared_ptr<const LoadedModel>(
      new LoadedModel(folder, config_of(folder, recognizer), architectures, schemes, false));
}

std::shared_ptr<const LoadedModel> LoadedModel::describe(
    const std::filesystem::path& path, const ArchitectureSource& architectures,
    const SchemeSource& schemes, std::set<std::string, std::less<>> assumed) {
  return std::shared_ptr<const LoadedModel>(new LoadedModel(
      path, ModelConfig::load(path), architectures, schemes, true, std::move(assumed)));
}

LoadedModel::LoadedModel(const std::filesystem::path& path, ModelConfig config,
                         const ArchitectureSource& architectures, const SchemeSource& schemes,
                         bool is_bare, std::set<std::string, std::less<>> assumed)
    : folder_(path),
      config_(std::move(config)),
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
