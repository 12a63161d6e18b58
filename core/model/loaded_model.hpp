// A model folder brought to life: config, checkpoint, and the model that an architecture built.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <quiver/architecture.hpp>
#include <quiver/text_model.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "core/model/checkpoint.hpp"
#include "core/model/model_config.hpp"
#include "core/model/weight_store.hpp"

namespace quiver {

/// An architecture with the name of the offer that runs a model.
struct ArchitectureOffer {
  std::shared_ptr<const Architecture> architecture;
  std::string offer;   ///< As in the descriptor.
  std::string plugin;  ///< Name of the plugin, for reports.
};

/// Gives the architecture of a `model_type`; throws Error(plugin) where none is installed.
using ArchitectureSource = std::function<ArchitectureOffer(std::string_view model_type)>;

/// Gives the `model_type` of a folder without config.json from the names of its tensors; empty
/// where no family knows them.
using WeightsRecognizer = std::function<std::string(std::span<const std::string_view> names)>;

/// Immutable once loaded. [any-thread]
class LoadedModel {
 public:
  /// Loads a model folder; one without config.json where `recognizer` knows its tensors. Throws
  /// Error(bad_input) for a malformed one and Error(plugin) where a plugin is missing.
  /// [load-thread]
  static std::shared_ptr<const LoadedModel> load(const std::filesystem::path& folder,
                                                 const ArchitectureSource& architectures,
                                                 const SchemeSource& schemes,
                                                 const WeightsRecognizer& recognizer = {});

  /// From a bare config: sizes without values. `path` is a folder or a config file. `assumed`:
  /// tensors that a checkpoint of it may have or not, and that this one is to have.
  static std::shared_ptr<const LoadedModel> describe(
      const std::filesystem::path& path, const ArchitectureSource& architectures,
      const SchemeSource& schemes, std::set<std::string, std::less<>> assumed = {});

  const std::filesystem::path& folder() const noexcept { return folder_; }
  const ModelConfig& config() const noexcept { return config_; }
  const WeightStore& weights() const noexcept { return *weights_; }
  const Model& model() const noexcept { return *model_; }
  const ArchitectureOffer& architecture() const noexcept { return architecture_; }

  /// nullptr for a bare config.
  const Checkpoint* checkpoint() const noexcept { return checkpoint_.get(); }

  /// Files beside the weights that the family knows of.
  std::span<const Sidecar> sidecars() const;

  /// The model as a text model; throws Error(usage) where it is none.
  const TextModel& text() const;

  /// Whether it is a text model.
  bool is_text() const noexcept;

 private:
  LoadedModel(const std::filesystem::path& path, ModelConfig config,
              const ArchitectureSource& architectures, const SchemeSource& schemes, bool is_bare,
              std::set<std::string, std::less<>> assumed = {});

  std::filesystem::path folder_;
  ModelConfig config_;
  ArchitectureOffer architecture_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<WeightStore> weights_;
  std::unique_ptr<const Model> model_;  // its code stays loaded: architecture_ holds the library
};

}  // namespace quiver
