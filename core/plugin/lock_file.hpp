// The list of plugins that a user pinned: with it, nothing else loads.
#pragma once

#include "core/plugin/plugin_fault.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// One pinned plugin.
struct LockedPlugin {
  std::string name;
  std::filesystem::path path;
  std::string sha256;  ///< See plugin_sha256().
};

/// The pinned plugins. A file that exists but cannot be read, or that others may write, pins
/// nothing: everything is refused until the user has put it right. [any-thread]
class LockFile {
 public:
  /// Nothing is pinned and everything may load.
  LockFile() = default;

  /// Reads `file`; where it does not exist (or is empty as a path), everything may load.
  static LockFile read(const std::filesystem::path& file);

  /// Pins `plugins` and nothing else. Throws Error(resources) where the file cannot be written.
  static void write(const std::filesystem::path& file, const std::vector<LockedPlugin>& plugins);

  /// Whether there is a lock file.
  bool exists() const { return exists_; }

  /// What is wrong with it; empty = nothing.
  const std::string& problem() const { return problem_; }

  const std::vector<LockedPlugin>& plugins() const { return plugins_; }

  /// Whether a plugin may load.
  Refusal check(std::string_view name, const std::filesystem::path& path,
                std::string_view sha256) const;

 private:
  std::filesystem::path file_;
  std::vector<LockedPlugin> plugins_;
  std::string problem_;
  bool exists_ = false;
};

}  // namespace quiver
