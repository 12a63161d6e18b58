// Every plugin that can be found, which of them serves a name, and how one is loaded.
#pragma once

#include "core/plugin/lock_file.hpp"
#include "core/plugin/plugin_entry.hpp"
#include "core/plugin/plugin_library.hpp"
#include "core/plugin/rehearsal.hpp"
#include "core/plugin/search_path.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Where a registry looks and what it remembers.
struct RegistryOptions {
  SearchPath search_path;
  std::filesystem::path cache_file;  ///< Verdicts of rehearsals; empty = nothing is remembered.
  std::filesystem::path lock_file;   ///< Obeyed where it exists; empty = none.
  RehearsalOptions rehearsal;
  bool forgets_broken = false;  ///< Broken plugins are rehearsed anew, once.
};

/// The options of an ordinary program: `folders` are those of --plugin-path; the rest comes from
/// the environment, the user's folders and the program's own place. [any-thread]
RegistryOptions default_registry_options(std::span<const std::filesystem::path> folders = {});

/// An offer together with the plugin that serves it.
struct FoundOffer {
  PluginEntry plugin;
  PluginOffer offer;
};

/// The plugins of one search path. Folders are read at the first question, and only then; a new
/// registry sees what has changed since. Descriptors are read from the files; a library is opened
/// by load() alone, and by rehearsals in child processes. [any-thread]
class PluginRegistry {
 public:
  explicit PluginRegistry(RegistryOptions options);
  ~PluginRegistry();
  PluginRegistry(const PluginRegistry&) = delete;
  PluginRegistry& operator=(const PluginRegistry&) = delete;

  const RegistryOptions& options() const { return options_; }

  /// What is wrong with the search path itself, a line each, for stderr.
  const std::vector<std::string>& warnings() const { return options_.search_path.warnings; }

  /// Every plugin found, in the order in which they win, none of them `unseen`: files that were
  /// never seen before are rehearsed now, as many at once as there are CPUs.
  std::vector<PluginEntry> entries() const;

  /// The same without rehearsing anything: states may be `unseen`, and a plugin counts as good
  /// until it is known to be bad.
  std::vector<PluginEntry> candidates() const;

  /// The first good plugin that offers `name`; rehearses plugins that offer it, and no others.
  std::optional<FoundOffer> find_offer(OfferKind kind, std::string_view name) const;

  /// The first good architecture that runs a `model_type`.
  std::optional<FoundOffer> find_architecture(std::string_view model_type) const;

  /// The first good architecture that can import a GGUF file of a `general.architecture`.
  std::optional<FoundOffer> find_gguf_architecture(std::string_view gguf_architecture) const;

  /// The plugin of that name that wins, or the one at that path where `name_or_file` holds a slash
  /// or ends in .so or .json: such a file need not lie on the search path. Its state is never
  /// `unseen`.
  std::optional<PluginEntry> find_plugin(const std::string& name_or_file) const;

  /// Loads a plugin, or gives the library that is loaded already. All checks are made again, on the
  /// very file that is then loaded: trust, descriptor, hash, lock file, verdict (with a rehearsal
  /// where there is none). Throws Error(plugin).
  std::shared_ptr<PluginLibrary> load(const PluginEntry& entry) const;

 private:
  struct State;

  std::optional<FoundOffer> find_first(
      const std::function<bool(const PluginOffer&)>& is_wanted) const;

  RegistryOptions options_;
  std::unique_ptr<State> state_;
};

}  // namespace quiver
