// Pins the plugins that are installed, and finds out whether they are still what they were.
#pragma once

#include "core/plugin/lock_file.hpp"
#include "core/plugin/registry.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Writes the lock file of a registry anew, with every plugin that is good today (rehearsing those
/// never seen before); the old lock file plays no part. Gives what it pinned. Throws
/// Error(resources) where the file cannot be written, Error(usage) where there is no place for it.
/// [load-thread]
std::vector<LockedPlugin> lock_plugins(const PluginRegistry& registry);

enum class LockedState : std::uint8_t { same, changed, missing };

/// The state as `plugins verify` writes it: ok, changed, missing. [any-thread]
std::string_view locked_state_name(LockedState state) noexcept;

struct VerifiedPlugin {
  LockedPlugin plugin;
  LockedState state = LockedState::same;
};

/// Reads every pinned plugin and compares its sum. Throws Error(usage) where there is no lock file,
/// Error(plugin) where it cannot be trusted or read. [any-thread]
std::vector<VerifiedPlugin> verify_plugins(const PluginRegistry& registry);

}  // namespace quiver
