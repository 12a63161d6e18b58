// Models, schemes and KV strategies for bench programs, from a folder of plugins.
#pragma once

#include "core/decode/engine.hpp"
#include "core/plugin/offers.hpp"
#include "core/plugin/registry.hpp"
#include "core/plugin/rehearsal.hpp"

#include <filesystem>
#include <memory>
#include <set>
#include <string>

namespace quiver::bench {

using Registry = std::shared_ptr<const PluginRegistry>;

inline Registry open_registry(const std::filesystem::path& plugins) {
  return std::make_shared<const PluginRegistry>(default_registry_options({&plugins, 1}));
}

inline ArchitectureSource architectures(const Registry& registry) {
  return [registry](std::string_view type) -> ArchitectureOffer {
    FoundArchitecture found = find_architecture(*registry, type);
    return {std::move(found.architecture), std::move(found.offer), found.plugin->name()};
  };
}

inline SchemeSource schemes(const Registry& registry) {
  return [registry](std::string_view name) { return quant_scheme(*registry, name); };
}

inline std::shared_ptr<const LoadedModel> load_model(const std::filesystem::path& folder,
                                                     const Registry& registry) {
  return LoadedModel::load(folder, architectures(registry), schemes(registry));
}

/// From a bare config.
inline std::shared_ptr<const LoadedModel> describe_model(
    const std::filesystem::path& config, const Registry& registry,
    std::set<std::string, std::less<>> assumed = {}) {
  return LoadedModel::describe(config, architectures(registry), schemes(registry),
                               std::move(assumed));
}

/// The strategy that NAME[:K=V,..] says.
inline std::shared_ptr<const KvStrategy> kv_strategy(const std::string& text,
                                                     const Registry& registry) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string options = colon < text.size() ? text.substr(colon + 1) : std::string();
  return create_kv_strategy(*registry, text.substr(0, colon), OptionInput::from_text(options));
}

}  // namespace quiver::bench
