// What commands that work on models share: plugins, threads, the model.
#include "host/cli/session.hpp"

#include "core/plugin/offers.hpp"
#include "host/cli/console.hpp"

#include <vector>

namespace quiver::cli {
namespace {

constexpr std::int64_t kMostThreads = 1024;

ComputeOptions compute_options(const Arguments& arguments) {
  ComputeOptions options;
  if (arguments.text("compute") == "exact") options.mode = ComputeMode::exact;
  const std::string activations = arguments.text("activations");
  if (activations == "8") options.activations = ActivationChoice::int8;
  if (activations == "16") options.activations = ActivationChoice::int16;
  if (activations == "32") options.activations = ActivationChoice::float32;
  return options;
}

}  // namespace

std::shared_ptr<const PluginRegistry> open_registry(const Arguments& arguments) {
  std::vector<std::filesystem::path> folders;
  for (const std::string& folder : arguments.texts("plugin-path")) folders.emplace_back(folder);
  auto registry = std::make_shared<const PluginRegistry>(default_registry_options(folders));
  for (const std::string& warning : registry->warnings()) warn(warning);
  return registry;
}

NamedOptions split_options(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

Session::Session(const Arguments& arguments)
    : registry_(open_registry(arguments)),
      thread_count_(arguments.has("threads")
                        ? static_cast<int>(arguments.integer("threads", 1, kMostThreads))
                        : 0),
      compute_(compute_options(arguments)) {}

ThreadPool& Session::threads() {
  if (!threads_) threads_ = std::make_unique<ThreadPool>(thread_count_);
  return *threads_;
}

ArchitectureSource Session::architectures() const {
  return [registry = registry_](std::string_view model_type) -> ArchitectureOffer {
    FoundArchitecture found = find_architecture(*registry, model_type);
    return {std::move(found.architecture), std::move(found.offer), found.plugin->name()};
  };
}

SchemeSource Session::schemes() const {
  return [registry = registry_](std::string_view name) { return quant_scheme(*registry, name); };
}

std::shared_ptr<const LoadedModel> Session::load(const std::filesystem::path& folder) const {
  return LoadedModel::load(folder, architectures(), schemes(),
                           [this](std::span<const std::string_view> names) {
                             return recognize_weights(*registry_, names);
                           });
}

std::shared_ptr<const LoadedModel> Session::describe(const std::filesystem::path& path) const {
  return LoadedModel::describe(path, architectures(), schemes());
}

std::shared_ptr<const KvStrategy> Session::kv_strategy(const NamedOptions& named) const {
  return create_kv_strategy(*registry_, named.name, OptionInput::from_text(named.options));
}

std::shared_ptr<const KvStrategy> Session::kv_strategy(const Arguments& arguments) const {
  return kv_strategy(split_options(arguments.text("kv")));
}

std::shared_ptr<const QuantScheme> Session::scheme(std::string_view name) const {
  return quant_scheme(*registry_, name);
}

}  // namespace quiver::cli
