// Every plugin that can be found, which of them serves a name, and how one is loaded.
#include "core/plugin/registry.hpp"

#include "core/plugin/manifest_plugins.hpp"
#include "core/plugin/plugin_scan.hpp"
#include "core/plugin/shadowing.hpp"
#include "core/plugin/verdict_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include <sys/stat.h>

namespace quiver {
namespace {

/// The build of the host as verdicts see it: also of another program that rehearses for it.
std::string build_for_verdicts(const std::filesystem::path& program) {
  struct stat status {};
  if (program == RehearsalOptions().program || ::stat(program.c_str(), &status) != 0) {
    return host_build_id();
  }
  return fmt::format("{}{}-{}-{}.{}", host_build_id(), status.st_ino, status.st_size,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

/// A plugin that waits for its rehearsal.
struct Unseen {
  std::size_t index = 0;  ///< In the list of plugins.
  ScannedPlugin plugin;
  std::string sha256;
};

void set_verdict(PluginEntry& entry, const Verdict& verdict) {
  entry.state = verdict.is_ok() ? PluginState::ok : PluginState::broken;
  entry.fault = verdict.fault;
  entry.reason = verdict.reason;
}

void set_refusal(PluginEntry& entry, const Refusal& refusal) {
  entry.state = PluginState::refused;
  entry.fault = refusal.fault;
  entry.reason = refusal.reason;
}

[[noreturn]] void throw_unusable(const PluginEntry& entry) {
  throw Error(ErrorCode::plugin,
              fmt::format("plugin '{}' is {}: {}", entry.descriptor.name, state_name(entry.state),
                          entry.reason),
              entry.path.string(), "'quiver plugins list' shows every plugin and its state");
}

/// Calls `work` for 0 .. count - 1, as many at once as there are CPUs.
void for_each_in_parallel(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  const std::size_t cpus = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::jthread> helpers;
  for (std::size_t i = 1; i < std::min(cpus, count); ++i) helpers.emplace_back(run);
  run();
}

}  // namespace

RegistryOptions default_registry_options(std::span<const std::filesystem::path> folders) {
  RegistryOptions options;
  options.search_path = make_search_path(process_search_settings(folders));
  const std::filesystem::path cache = user_folder("XDG_CACHE_HOME", ".cache");
  const std::filesystem::path config = user_folder("XDG_CONFIG_HOME", ".config");
  if (!cache.empty()) options.cache_file = cache / "quiver" / "plugins.json";
  if (!config.empty()) options.lock_file = config / "quiver" / "plugins.lock";
  return options;
}

/// Everything that is known so far. All functions are called with `mutex` held.
struct PluginRegistry::State {
  explicit State(const RegistryOptions& registry_options)
      : options(registry_options),
        lock(LockFile::read(options.lock_file)),
        cache(options.cache_file, build_for_verdicts(options.rehearsal.program)) {
    if (options.forgets_broken) cache.forget_broken();
  }

  /// Reads the folders, once.
  void scan();

  /// Applies what is known about a plugin that nothing speaks against: lock file and verdict.
  /// Leaves it unseen where there is no verdict.
  void apply_knowledge(ScannedPlugin& plugin, std::string& sha256);

  /// Settles one plugin of the list; rehearses it where it must.
  void settle(std::size_t index);

  /// Settles all of them, many at once.
  void settle_all();

  /// Settles a plugin and those before it that take an offer from it if they are good.
  void settle_with_rivals(std::size_t index);

  /// Reads the plugin anew and, where it is unseen, rehearses it.
  ScannedPlugin settle_file(const std::filesystem::path& path, std::string& sha256);

  const RegistryOptions& options;
  std::mutex mutex;
  PluginScanner scanner;
  LockFile lock;
  VerdictCache cache;
  bool is_scanned = false;
  std::vector<PluginEntry> plugins;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<PluginLibrary>> loaded;
};

void PluginRegistry::State::scan() {
  if (std::exchange(is_scanned, true)) return;
  for (const SearchFolder& folder : options.search_path.folders) {
    for (ScannedPlugin& plugin : scanner.scan(folder)) {
      std::string sha256;
      apply_knowledge(plugin, sha256);
      plugins.push_back(std::move(plugin.entry));
    }
  }
}

void PluginRegistry::State::apply_knowledge(ScannedPlugin& plugin, std::string& sha256) {
  PluginEntry& entry = plugin.entry;
  if (entry.state != PluginState::unseen) return;
  const KnownVerdict* const known = cache.find(entry.path, plugin.identities());
  if (known != nullptr) sha256 = known->sha256;
  if (lock.exists()) {
    if (sha256.empty()) sha256 = plugin_sha256(plugin.files);
    if (const Refusal refusal = lock.check(entry.descriptor.name, entry.path, sha256)) {
      return set_refusal(entry, refusal);
    }
  }
  if (known != nullptr) set_verdict(entry, known->verdict);
}

ScannedPlugin PluginRegistry::State::settle_file(const std::filesystem::path& path,
                                                 std::string& sha256) {
  ScannedPlugin plugin = scanner.scan_file(path, options.search_path.folders);
  PluginEntry& entry = plugin.entry;
  if (entry.state != PluginState::unseen) return plugin;
  // The content decides, here where the plugin is about to be used.
  sha256 = plugin_sha256(plugin.files);
  if (const Refusal refusal = lock.check(entry.descriptor.name, entry.path, sha256)) {
    set_refusal(entry, refusal);
    return plugin;
  }
  const KnownVerdict* known = cache.find(entry.path, plugin.identities());
  if (known == nullptr || known->sha256 != sha256) {
    known = cache.find(sha256);
    const Verdict verdict =
        known != nullptr ? known->verdict : rehearse(entry, plugin.files, options.rehearsal);
    cache.put(entry.path, {plugin.identities(), sha256, verdict});
    cache.save();
    set_verdict(entry, verdict);
  } else {
    set_verdict(entry, known->verdict);
  }
  return plugin;
}

void PluginRegistry::State::settle(std::size_t index) {
  if (plugins[index].state != PluginState::unseen) return;
  std::string sha256;
  plugins[index] = settle_file(plugins[index].path, sha256).entry;
}

void PluginRegistry::State::settle_with_rivals(std::size_t index) {
  settle(index);
  const PluginEntry entry = plugins[index];
  for (std::size_t i = 0; i < index; ++i) {
    const bool is_rival = std::ranges::any_of(
        entry.descriptor.offers,
        [&](const PluginOffer& offer) { return is_shadowed_by(entry, offer, plugins[i]); });
    if (is_rival && plugins[i].state == PluginState::unseen) settle_with_rivals(i);
  }
}

void PluginRegistry::State::settle_all() {
  std::vector<Unseen> unseen;
  for (std::size_t i = 0; i < plugins.size(); ++i) {
    if (plugins[i].state != PluginState::unseen) continue;
    Unseen next{i, scanner.scan_file(plugins[i].path, options.search_path.folders), {}};
    plugins[i] = next.plugin.entry;
    if (plugins[i].state != PluginState::unseen) continue;  // it changed meanwhile
    next.sha256 = plugin_sha256(next.plugin.files);
    unseen.push_back(std::move(next));
  }
  // One rehearsal for each content, however many copies lie around.
  std::map<std::string, Verdict> verdicts;
  std::vector<const Unseen*> to_rehearse;
  for (const Unseen& plugin : unseen) {
    const KnownVerdict* const known = cache.find(plugin.sha256);
    const bool is_new = verdicts.emplace(plugin.sha256, known ? known->verdict : Verdict()).second;
    if (is_new && known == nullptr) to_rehearse.push_back(&plugin);
  }
  std::vector<std::string> failures(to_rehearse.size());
  for_each_in_parallel(to_rehearse.size(), [&](std::size_t i) {
    const Unseen& plugin = *to_rehearse[i];
    try {
      verdicts.at(plugin.sha256) =
          rehearse(plugin.plugin.entry, plugin.plugin.files, options.rehearsal);
    } catch (const Error& error) {
      failures[i] = error.what();
    }
  });
  std::map<std::string, std::string> not_rehearsed;
  for (std::size_t i = 0; i < to_rehearse.size(); ++i) {
    if (!failures[i].empty()) not_rehearsed.emplace(to_rehearse[i]->sha256, failures[i]);
  }
  for (const Unseen& plugin : unseen) {
    PluginEntry& entry = plugins[plugin.index];
    if (const auto failure = not_rehearsed.find(plugin.sha256); failure != not_rehearsed.end()) {
      set_verdict(entry,
                  {PluginFault::load_failed, "it cannot be tried out: " + failure->second, 0});
      continue;
    }
    set_verdict(entry, verdicts.at(plugin.sha256));
    cache.put(entry.path, {plugin.plugin.identities(), plugin.sha256, verdicts.at(plugin.sha256)});
  }
  cache.save();
}

PluginRegistry::PluginRegistry(RegistryOptions options)
    : options_(std::move(options)), state_(std::make_unique<State>(options_)) {}

PluginRegistry::~PluginRegistry() = default;

std::vector<PluginEntry> PluginRegistry::entries() const {
  const std::lock_guard lock(state_->mutex);
  state_->scan();
  state_->settle_all();
  std::vector<PluginEntry> entries = state_->plugins;
  apply_shadowing(entries);
  return entries;
}

std::vector<PluginEntry> PluginRegistry::candidates() const {
  const std::lock_guard lock(state_->mutex);
  state_->scan();
  std::vector<PluginEntry> entries = state_->plugins;
  apply_shadowing(entries);
  return entries;
}

std::optional<FoundOffer> PluginRegistry::find_first(
    const std::function<bool(const PluginOffer&)>& is_wanted) const {
  const std::lock_guard lock(state_->mutex);
  state_->scan();
  for (std::size_t i = 0; i < state_->plugins.size(); ++i) {
    // A copy, because settling replaces the entry.
    const PluginEntry candidate = state_->plugins[i];
    for (const PluginOffer& offer : candidate.descriptor.offers) {
      if (candidate.state == PluginState::refused || !is_wanted(offer)) continue;
      state_->settle_with_rivals(i);
      const auto after = state_->plugins.begin() + static_cast<std::ptrdiff_t>(i) + 1;
      std::vector<PluginEntry> entries(state_->plugins.begin(), after);
      apply_shadowing(entries);
      const PluginEntry& entry = entries.back();
      const std::span<const PluginEntry> earlier(entries.data(), i);
      if (entry.state == PluginState::ok && find_shadowing(earlier, entry, offer) == nullptr) {
        return FoundOffer{entry, offer};
      }
    }
  }
  return std::nullopt;
}

std::optional<FoundOffer> PluginRegistry::find_offer(OfferKind kind, std::string_view name) const {
  return find_first(
      [&](const PluginOffer& offer) { return offer.kind == kind && offer.name == name; });
}

std::optional<FoundOffer> PluginRegistry::find_architecture(std::string_view model_type) const {
  return find_first([&](const PluginOffer& offer) {
    return std::ranges::find(offer.model_types, model_type) != offer.model_types.end();
  });
}

std::optional<FoundOffer> PluginRegistry::find_gguf_architecture(
    std::string_view gguf_architecture) const {
  return find_first([&](const PluginOffer& offer) {
    return std::ranges::find(offer.gguf_architectures, gguf_architecture) !=
           offer.gguf_architectures.end();
  });
}

std::optional<PluginEntry> PluginRegistry::find_plugin(const std::string& name_or_file) const {
  const std::lock_guard lock(state_->mutex);
  const bool is_file = name_or_file.find('/') != std::string::npos ||
                       name_or_file.ends_with(".so") || name_or_file.ends_with(".json");
  if (is_file) {
    std::error_code error;
    if (!std::filesystem::exists(name_or_file, error)) return std::nullopt;
    std::string sha256;
    return state_->settle_file(name_or_file, sha256).entry;
  }
  state_->scan();
  std::optional<PluginEntry> first;
  for (std::size_t i = 0; i < state_->plugins.size(); ++i) {
    if (state_->plugins[i].descriptor.name != name_or_file) continue;
    state_->settle(i);
    if (state_->plugins[i].state == PluginState::ok) return state_->plugins[i];
    if (!first) first = state_->plugins[i];
  }
  return first;
}

std::shared_ptr<PluginLibrary> PluginRegistry::load(const PluginEntry& entry) const {
  const std::lock_guard lock(state_->mutex);
  std::string sha256;
  const ScannedPlugin plugin = state_->settle_file(entry.path, sha256);
  if (plugin.entry.state != PluginState::ok) throw_unusable(plugin.entry);
  std::shared_ptr<PluginLibrary>& library = state_->loaded[{entry.path.string(), sha256}];
  if (library == nullptr) {
    library = plugin.entry.origin == PluginOrigin::elf
                  ? load_elf_plugin(plugin.files.front())
                  : load_manifest_plugin(plugin.files.front(), plugin.files.back());
  }
  return library;
}

}  // namespace quiver
