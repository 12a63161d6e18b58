// Pins the plugins that are installed, and finds out whether they are still what they were.
#include "core/plugin/lock_plugins.hpp"

#include "core/plugin/manifest_plugins.hpp"
#include "core/plugin/verdict_cache.hpp"

namespace quiver {
namespace {

/// The sum of a plugin by the paths of its files.
std::string sum_of(const std::vector<std::filesystem::path>& paths) {
  std::vector<PluginFile> files;
  for (const std::filesystem::path& path : paths) files.push_back(PluginFile::open(path));
  return plugin_sha256(files);
}

LockedState verify(const LockedPlugin& plugin) {
  std::error_code error;
  if (!std::filesystem::exists(plugin.path, error)) return LockedState::missing;
  try {
    const bool is_manifest = plugin.path.extension() == ".json";
    const auto files = is_manifest ? read_manifest_entry(plugin.path).files
                                   : std::vector<std::filesystem::path>{plugin.path};
    return sum_of(files) == plugin.sha256 ? LockedState::same : LockedState::changed;
  } catch (const Error&) {
    return LockedState::changed;
  }
}

}  // namespace

std::vector<LockedPlugin> lock_plugins(const PluginRegistry& registry) {
  RegistryOptions options = registry.options();
  const std::filesystem::path file = std::exchange(options.lock_file, {});
  if (file.empty()) {
    throw Error(ErrorCode::usage, "there is no place for a lock file", "plugins lock",
                "set HOME or XDG_CONFIG_HOME");
  }
  std::vector<LockedPlugin> locked;
  for (const PluginEntry& entry : PluginRegistry(options).entries()) {
    const bool is_good = entry.state == PluginState::ok || entry.state == PluginState::shadowed;
    if (is_good) locked.push_back({entry.descriptor.name, entry.path, sum_of(entry.files)});
  }
  LockFile::write(file, locked);
  return locked;
}

std::string_view locked_state_name(LockedState state) noexcept {
  switch (state) {
    case LockedState::same: return "ok";
    case LockedState::changed: return "changed";
    case LockedState::missing: return "missing";
  }
  return "unknown";
}

std::vector<VerifiedPlugin> verify_plugins(const PluginRegistry& registry) {
  const std::filesystem::path& file = registry.options().lock_file;
  const LockFile lock = LockFile::read(file);
  if (!lock.exists()) {
    throw Error(ErrorCode::usage, "there is no lock file", file.string(),
                "'quiver plugins lock' writes one");
  }
  if (!lock.problem().empty()) throw Error(ErrorCode::plugin, lock.problem());
  std::vector<VerifiedPlugin> verified;
  for (const LockedPlugin& plugin : lock.plugins()) verified.push_back({plugin, verify(plugin)});
  return verified;
}

}  // namespace quiver
