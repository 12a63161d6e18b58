// Finds plugin files in folders and judges them by what can be read.
#include "core/plugin/plugin_scan.hpp"

#include "core/plugin/byte_source.hpp"
#include "core/plugin/manifest_plugins.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include <sys/stat.h>

namespace quiver {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFiles = 4096;

void refuse(PluginEntry& entry, Refusal refusal) {
  if (entry.state == PluginState::refused || !refusal) return;
  entry.state = PluginState::refused;
  entry.fault = refusal.fault;
  entry.reason = one_line(refusal.reason, 1000);
}

/// The `*.so` of a folder by name. Hidden files are somebody's temporary ones.
std::vector<fs::path> library_paths(const fs::path& folder, std::error_code& error) {
  std::vector<fs::path> paths;
  for (fs::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error)) {
    const fs::path name = item->path().filename();
    if (name.extension() == ".so" && paths.size() < kMaxFiles) paths.push_back(item->path());
  }
  std::erase_if(paths,
                [](const fs::path& path) { return path.filename().native().starts_with('.'); });
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// What a file is called as long as it does not say so itself.
PluginEntry blank_entry(const fs::path& path) {
  PluginEntry entry;
  entry.path = path;
  entry.files = {path};
  entry.descriptor.name = one_line(path.stem().string(), 80);
  return entry;
}

PluginEntry unreadable_folder(const fs::path& folder, const std::error_code& error) {
  PluginEntry entry = blank_entry(folder);
  refuse(entry, {PluginFault::unreadable,
                 fmt::format("the folder cannot be listed: {}", error.message())});
  return entry;
}

/// What a path leads to, or why that is no file to be opened.
Refusal check_kind(const fs::path& path, fs::path& real) {
  std::error_code error;
  real = fs::canonical(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    return {PluginFault::not_a_file,
            fs::is_symlink(path) ? "a link that leads nowhere" : "there is no such file"};
  }
  if (error) return {PluginFault::unreadable, "cannot be reached: " + error.message()};
  const fs::file_status status = fs::status(real, error);
  if (error) return {PluginFault::unreadable, "cannot be examined: " + error.message()};
  if (fs::is_directory(status)) return {PluginFault::not_a_file, "a folder, not a file"};
  if (!fs::is_regular_file(status)) return {PluginFault::not_a_file, "not a regular file"};
  return {};
}

}  // namespace

std::vector<FileIdentity> ScannedPlugin::identities() const {
  std::vector<FileIdentity> identities;
  for (const PluginFile& file : files) identities.push_back(file.identity());
  return identities;
}

std::vector<ScannedPlugin> PluginScanner::scan(const SearchFolder& folder) const {
  std::vector<ScannedPlugin> plugins;
  std::error_code error;
  if (!fs::exists(folder.path, error) && !error) return plugins;
  const std::vector<fs::path> libraries = library_paths(folder.path, error);
  if (error) {
    plugins.push_back({unreadable_folder(folder.path, error), {}});
    return plugins;
  }
  const Refusal refusal = trust_.check_folder(folder.path, folder.trusted_root);
  std::set<fs::path> claimed;
  for (PluginEntry& entry : scan_manifests(folder.path)) {
    claimed.insert(entry.files.begin(), entry.files.end());
    plugins.push_back(judge(std::move(entry), refusal));
  }
  for (const fs::path& path : libraries) {
    if (!claimed.contains(path)) plugins.push_back(judge(blank_entry(path), refusal));
  }
  std::stable_sort(
      plugins.begin(), plugins.end(),
      [](const ScannedPlugin& a, const ScannedPlugin& b) { return a.entry.path < b.entry.path; });
  return plugins;
}

ScannedPlugin PluginScanner::scan_file(const fs::path& file,
                                       std::span<const SearchFolder> folders) const {
  const fs::path path = fs::absolute(file).lexically_normal();
  const fs::path folder = path.parent_path();
  const auto known =
      std::find_if(folders.begin(), folders.end(),
                   [&](const SearchFolder& candidate) { return candidate.path == folder; });
  const Refusal refusal =
      trust_.check_folder(folder, known != folders.end() ? known->trusted_root : fs::path());
  return judge(path.extension() == ".json" ? read_manifest_entry(path) : blank_entry(path),
               refusal);
}

/// Opens the files of a plugin. The first thing that speaks against one of them is the result;
/// files that could be opened are there all the same, so that a list can show what they say.
Refusal PluginScanner::open_trusted(ScannedPlugin& plugin) const {
  Refusal refusal;
  for (const fs::path& path : plugin.entry.files) {
    fs::path real;
    Refusal found = check_kind(path, real);
    if (found) return found;
    try {
      plugin.files.push_back(PluginFile::open(real));
    } catch (const Error& error) {
      plugin.files.clear();
      return {PluginFault::unreadable, error.message()};
    }
    struct stat status {};
    if (::fstat(plugin.files.back().descriptor(), &status) == 0) {
      found = trust_.check_file(status, real);
    }
    // A link leads to a folder that was not judged yet.
    if (!found && real.parent_path() != path.parent_path()) {
      found = trust_.check_folder(real.parent_path());
    }
    if (!refusal) refusal = std::move(found);
  }
  return refusal;
}

ScannedPlugin PluginScanner::judge(PluginEntry entry, const Refusal& folder_refusal) const {
  ScannedPlugin plugin{std::move(entry), {}};
  refuse(plugin.entry, folder_refusal);
  const Refusal refusal = open_trusted(plugin);
  if (plugin.files.size() == plugin.entry.files.size() &&
      plugin.entry.origin == PluginOrigin::elf) {
    const PluginFile& file = plugin.files.front();
    DescriptorReading reading =
        read_descriptor(FileBytes(file.descriptor(), file.identity().size), host_);
    if (reading.descriptor) {
      if (reading.descriptor->name.empty()) {
        reading.descriptor->name = std::move(plugin.entry.descriptor.name);
      }
      plugin.entry.descriptor = *std::move(reading.descriptor);
    }
    refuse(plugin.entry, refusal);
    refuse(plugin.entry, std::move(reading.refusal));
  }
  refuse(plugin.entry, refusal);
  return plugin;
}

}  // namespace quiver
