// How plugins that are described by a manifest take part in the registry.
#pragma once

#include "core/plugin/plugin_entry.hpp"
#include "core/plugin/plugin_file.hpp"
#include "core/plugin/plugin_library.hpp"

#include <filesystem>
#include <memory>
#include <vector>

namespace quiver {

/// Every `*.sampler.json` in a folder, by file name, as an entry of origin `manifest`: unseen, with
/// `files` = {manifest, library}; or refused with bad_manifest and a reason, `files` = {manifest}.
/// Nothing but manifests is read; the registry checks trust, lock file and verdict. Bad files never
/// throw. [any-thread]
std::vector<PluginEntry> scan_manifests(const std::filesystem::path& folder);

/// The same for one manifest. [any-thread]
PluginEntry read_manifest_entry(const std::filesystem::path& file);

/// Loads a manifest plugin from the two files that the registry opened and hashed: the text is
/// `manifest.read()`, the library is opened by `library.load()` or, for other loaders, by the path
/// `library.load_path()`. The result provides SamplerFactory. Throws Error(plugin). [load-thread]
std::shared_ptr<PluginLibrary> load_manifest_plugin(const PluginFile& manifest,
                                                    const PluginFile& library);

/// In a rehearsal's child process, after the generic checks (interfaces there, unknown ones
/// refused, every offer created with default options): calls each function once on small buffers.
/// Throws Error(plugin) where a function broke a rule; a crash takes the process with it.
/// [load-thread]
void rehearse_manifest_plugin(const PluginFile& manifest, const PluginFile& library);

}  // namespace quiver
