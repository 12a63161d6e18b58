// From a name that a user wrote to the thing that a plugin makes.
#pragma once

#include "core/plugin/options.hpp"
#include "core/plugin/registry.hpp"

#include <quiver/architecture.hpp>
#include <quiver/canvas_sampler.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/quant_scheme.hpp>
#include <quiver/sampler.hpp>

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

// All of these load the plugin where it is not loaded yet, and hand out objects that keep it. Each
// throws Error(plugin) where nothing installed offers the name, with a message that lists what
// does; Error(usage) for options. [load-thread]

std::shared_ptr<const Sampler> create_sampler(const PluginRegistry& registry, std::string_view name,
                                              const OptionInput& options = {});

std::shared_ptr<const CanvasSampler> create_canvas_sampler(const PluginRegistry& registry,
                                                           std::string_view name,
                                                           const OptionInput& options = {});

std::shared_ptr<const KvStrategy> create_kv_strategy(const PluginRegistry& registry,
                                                     std::string_view name,
                                                     const OptionInput& options = {});

std::shared_ptr<const QuantScheme> quant_scheme(const PluginRegistry& registry,
                                                std::string_view name);

/// An architecture and which of its plugin's offers is meant.
struct FoundArchitecture {
  std::shared_ptr<const Architecture> architecture;
  std::shared_ptr<PluginLibrary> plugin;  ///< Holds what `architecture` makes; see hold().
  std::string offer;                      ///< To be passed to Architecture::create and the like.
};

/// The architecture that runs a `model_type`.
FoundArchitecture find_architecture(const PluginRegistry& registry, std::string_view model_type);

/// The architecture that imports GGUF files of a `general.architecture`.
FoundArchitecture find_gguf_architecture(const PluginRegistry& registry,
                                         std::string_view gguf_architecture);

/// The `model_type` of weights that come without config.json, by the names of their tensors: the
/// first family that knows them says it (BareWeights). Empty where none does. Loads every
/// architecture up to that one; what cannot be loaded is passed over.
std::string recognize_weights(const PluginRegistry& registry,
                              std::span<const std::string_view> names);

/// The options of an offer, with ranges and defaults; none for kinds without options. They live as
/// long as `plugin`. Throws Error(plugin).
std::span<const OptionSpec> offer_options(const PluginLibrary& plugin, const PluginOffer& offer);

}  // namespace quiver
