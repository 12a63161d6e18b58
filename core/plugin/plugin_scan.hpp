// Finds plugin files in folders and judges them by what can be read.
#pragma once

#include "core/plugin/elf_descriptor.hpp"
#include "core/plugin/file_trust.hpp"
#include "core/plugin/plugin_entry.hpp"
#include "core/plugin/plugin_file.hpp"
#include "core/plugin/search_path.hpp"

#include <filesystem>
#include <span>
#include <vector>

namespace quiver {

/// A plugin that was found.
struct ScannedPlugin {
  PluginEntry entry;              ///< `unseen` or `refused`.
  std::vector<PluginFile> files;  ///< PluginEntry::files, open; empty where one cannot be opened.

  std::vector<FileIdentity> identities() const;
};

/// Looks at folders and files. Nothing that it finds is run. [any-thread]
class PluginScanner {
 public:
  /// The plugins of a folder: `*.so` and `*.sampler.json`, by name, without folders in it and
  /// without libraries that a manifest claims. Files beyond the first 4096 are left alone.
  std::vector<ScannedPlugin> scan(const SearchFolder& folder) const;

  /// The plugin at a path, whose folder is judged as one of `folders` where it is one of them.
  ScannedPlugin scan_file(const std::filesystem::path& file,
                          std::span<const SearchFolder> folders) const;

 private:
  ScannedPlugin judge(PluginEntry entry, const Refusal& folder_refusal) const;
  Refusal open_trusted(ScannedPlugin& plugin) const;

  FileTrust trust_;
  HostApi host_ = host_api();
};

}  // namespace quiver
