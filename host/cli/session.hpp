// What commands that work on models share: plugins, threads, the model.
#pragma once

#include "core/model/loaded_model.hpp"
#include "core/ops/compute.hpp"
#include "core/plugin/registry.hpp"
#include "core/threads/thread_pool.hpp"
#include "host/cli/arguments.hpp"

#include <quiver/kv_strategy.hpp>

#include <filesystem>
#include <memory>
#include <string>

namespace quiver::cli {

/// --kv, for every command that runs a model.
inline constexpr OptionRow kKvOption = {
    .name = "kv",
    .value = "NAME[:K=V,..]",
    .default_value = "f32",
    .help =
        "Strategy that stores keys and values, with its options; 'quiver plugins list --kind kv' "
        "lists them"};

/// The registry that the global options describe. Its warnings have been printed.
std::shared_ptr<const PluginRegistry> open_registry(const Arguments& arguments);

/// What was asked for as NAME[:K=V,..]: the name, and the options as they were written.
struct NamedOptions {
  std::string name;
  std::string options;
};
NamedOptions split_options(const std::string& text);

/// Plugins and threads of one command. Only what a command uses is loaded or started.
/// [one-call-at-a-time]
class Session {
 public:
  explicit Session(const Arguments& arguments);

  const PluginRegistry& registry() const { return *registry_; }

  /// The threads that --threads asks for; started at the first call.
  ThreadPool& threads();

  /// Loads the model of a folder. Throws Error(plugin) where no architecture runs its model_type or
  /// no scheme reads its weights. A folder without config.json is told by its tensors, where a
  /// plugin knows them.
  std::shared_ptr<const LoadedModel> load(const std::filesystem::path& folder) const;

  /// The same from config.json alone, which `path` is or holds: sizes without values.
  std::shared_ptr<const LoadedModel> describe(const std::filesystem::path& path) const;

  /// The KV strategy of a name, or the one that --kv names; see choose_kv().
  std::shared_ptr<const KvStrategy> kv_strategy(const NamedOptions& named) const;
  std::shared_ptr<const KvStrategy> kv_strategy(const Arguments& arguments) const;

  /// What --compute and --activations ask for.
  const ComputeOptions& compute() const { return compute_; }

  /// The quantization scheme of a name.
  std::shared_ptr<const QuantScheme> scheme(std::string_view name) const;

 private:
  ArchitectureSource architectures() const;
  SchemeSource schemes() const;

  std::shared_ptr<const PluginRegistry> registry_;
  int thread_count_;
  ComputeOptions compute_;
  std::unique_ptr<ThreadPool> threads_;
};

}  // namespace quiver::cli
