// Models of any architecture that say how they want calibration texts fed.
#pragma once

#include <functional>
#include <memory>
#include <quiver/calibration_probes.hpp>
#include <quiver/plugin.hpp>

#include "tests/support/models.hpp"

namespace quiver::test {

/// What a model answers about a calibration text: CalibrationProbes::probe().
using Probe = std::function<Visibility(int index, std::span<std::int32_t> tokens)>;

class ProbedModel : public Model, public CalibrationProbes {
 public:
  ProbedModel(std::unique_ptr<Model> model, Probe probe)
      : model_(std::move(model)), probe_(std::move(probe)) {}

  int block_count() const override { return model_->block_count(); }
  void block(int index, Ops& ops, Stream& stream) const override {
    model_->block(index, ops, stream);
  }
  const void* extension(std::string_view id) const override {
    const void* found = provide<CalibrationProbes>(id, *this);
    return found != nullptr ? found : model_->extension(id);
  }
  Visibility probe(int index, std::span<std::int32_t> tokens) const override {
    return probe_(index, tokens);
  }

 private:
  std::unique_ptr<Model> model_;
  Probe probe_;
};

class ProbedArchitecture : public Architecture {
 public:
  ProbedArchitecture(std::shared_ptr<const Architecture> architecture, Probe probe)
      : architecture_(std::move(architecture)), probe_(std::move(probe)) {}

  Model* create(std::string_view offer, const Config& config, Weights& weights) const override {
    std::unique_ptr<Model> model(architecture_->create(offer, config, weights));
    return std::make_unique<ProbedModel>(std::move(model), probe_).release();
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view offer) const override {
    return architecture_->checkpoint_rules(offer);
  }
  const void* extension(std::string_view id) const override { return architecture_->extension(id); }

 private:
  std::shared_ptr<const Architecture> architecture_;
  Probe probe_;
};

/// A model folder of the llama family with this probe; the plugin's name is "probing".
inline std::shared_ptr<const LoadedModel> load_probed(const std::filesystem::path& folder,
                                                      const Probe& probe) {
  const auto source = [&](std::string_view type) {
    ArchitectureOffer offer = llama_architecture(type);
    offer.architecture = std::make_shared<ProbedArchitecture>(offer.architecture, probe);
    offer.plugin = "probing";
    return offer;
  };
  return LoadedModel::load(folder, source, affine_scheme);
}

}  // namespace quiver::test
