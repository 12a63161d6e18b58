// One plugin as the registry lists it.
#pragma once

#include "core/plugin/plugin_descriptor.hpp"
#include "core/plugin/plugin_fault.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// How a plugin describes itself.
enum class PluginOrigin : std::uint8_t {
  elf,       ///< By the descriptor in its own file.
  manifest,  ///< By a JSON manifest beside a library of plain functions.
};

enum class PluginState : std::uint8_t {
  unseen,    ///< Nothing speaks against it so far, and it was never rehearsed.
  ok,        ///< Survived its rehearsal.
  refused,   ///< Will not be loaded, because of what the file says or where it lies.
  broken,    ///< Did not survive its rehearsal.
  shadowed,  ///< All that it offers comes from plugins found before it.
};

/// The state as `plugins list` writes it. [any-thread]
std::string_view state_name(PluginState state) noexcept;

/// A plugin that was found, good or bad. A plain value.
struct PluginEntry {
  PluginOrigin origin = PluginOrigin::elf;

  /// The file that makes it a plugin, as it was found in its folder: library or manifest.
  std::filesystem::path path;

  /// Every file whose content matters: each must be trusted, and their hash is the plugin's. The
  /// last one is the library. {path} for ELF; {path, library} for a manifest.
  std::vector<std::filesystem::path> files;

  /// What it says about itself; only the name is sure to be set (from the file where nothing better
  /// could be read).
  PluginDescriptor descriptor;

  PluginState state = PluginState::unseen;
  PluginFault fault = PluginFault::none;

  /// One sentence where the state is refused, broken or shadowed, or where single offers of a good
  /// plugin are shadowed.
  std::string reason;
};

}  // namespace quiver
