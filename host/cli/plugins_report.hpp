// What the commands about plugins tell: as JSON for scripts, as text for people.
#pragma once

#include "core/plugin/lock_plugins.hpp"
#include "core/plugin/registry.hpp"

#include <quiver/options.hpp>

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quiver::cli {

/// The entries that offer a kind; all of them without one. [any-thread]
std::vector<PluginEntry> of_kind(std::vector<PluginEntry> entries, std::optional<OfferKind> kind);

/// {"plugins": [{"name", "version", "kind", "path", "state", "reason", "reason_code", "license",
/// "summary", "offers": [{"kind", "name", "summary", "model_types", "gguf_architectures"}]}]}. The
/// kind is that of the first offer, "unknown" where none could be read. [any-thread]
nlohmann::ordered_json plugins_list_json(std::span<const PluginEntry> entries);

/// A table with a line a plugin, and the reasons under those that are not used. [any-thread]
std::string plugins_list_text(std::span<const PluginEntry> entries, bool is_coloured);

/// One plugin with the options of what it offers. The options are asked from the plugin, which is
/// loaded for it where its state is ok or shadowed.
struct PluginInspection {
  struct Option {
    std::string offer;
    OptionSpec spec;  ///< Its texts live as long as the plugin, which stays.
  };

  PluginEntry entry;
  std::vector<Option> options;
  std::shared_ptr<PluginLibrary> library;  ///< Null where it was not loaded.
};

/// Looks at the plugin of a name, or at a file. Throws Error(plugin) where there is none.
/// [load-thread]
PluginInspection inspect_plugin(const PluginRegistry& registry, const std::string& name_or_file);

/// An element of plugins_list_json() with "api", "abi", and "options": [{"offer", "name", "type",
/// "default", "minimum", "maximum", "summary"}]; a bound that does not exist is null. [any-thread]
nlohmann::ordered_json plugin_inspection_json(const PluginInspection& inspection);
std::string plugin_inspection_text(const PluginInspection& inspection, bool is_coloured);

/// {"lock_file", "plugins": [{"name", "path", "sha256"}]}. [any-thread]
nlohmann::ordered_json plugins_lock_json(const std::filesystem::path& lock_file,
                                         std::span<const LockedPlugin> plugins);

/// {"passed", "failed", "plugins": [{"name", "path", "sha256", "state": "ok|changed|missing"}]}.
/// [any-thread]
nlohmann::ordered_json plugins_verify_json(std::span<const VerifiedPlugin> plugins);
std::string plugins_verify_text(std::span<const VerifiedPlugin> plugins, bool is_coloured);

}  // namespace quiver::cli
