// Which of several plugins with one name serves it.
#pragma once

#include "core/plugin/plugin_entry.hpp"

#include <span>
#include <vector>

namespace quiver {

/// Whether `earlier`, if it is good, takes an offer from `later`: both plugins have one name, or
/// `earlier` has an offer of that kind and name. [any-thread]
bool is_shadowed_by(const PluginEntry& later, const PluginOffer& offer, const PluginEntry& earlier);

/// The plugin among those found before `entry` that takes an offer from it; nullptr = `entry`
/// serves it. For architectures also one that runs all its model types, because they are found by
/// those. apply_shadowing() was applied to `earlier`. [any-thread]
const PluginEntry* find_shadowing(std::span<const PluginEntry> earlier, const PluginEntry& entry,
                                  const PluginOffer& offer);

/// Marks plugins that serve nothing because of others found before them as `shadowed`, and notes
/// single offers that are shadowed in the reasons of good plugins. Plugins that are neither ok nor
/// unseen shadow nothing. [any-thread]
void apply_shadowing(std::vector<PluginEntry>& entries);

}  // namespace quiver
