// Where plugins are looked for, and in which order.
#include "core/plugin/search_path.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>

#include <pwd.h>
#include <unistd.h>

namespace quiver {
namespace {

constexpr std::string_view kFolderInPrefix = "lib/quiver/plugins";

std::string environment(const char* variable) {
  const char* const value = ::secure_getenv(variable);
  return value != nullptr ? value : "";
}

std::filesystem::path home_folder() {
  if (const std::filesystem::path home = environment("HOME"); home.is_absolute()) return home;
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
      found != nullptr && found->pw_dir != nullptr && found->pw_dir[0] == '/') {
    return found->pw_dir;
  }
  return {};
}

/// A path that equal folders share, whether or not they exist.
std::filesystem::path normal(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::weakly_canonical(folder, error);
  if (error) path = folder.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path;
}

void add(SearchPath& search_path, SearchFolder folder) {
  folder.path = normal(folder.path);
  const bool is_known =
      std::any_of(search_path.folders.begin(), search_path.folders.end(),
                  [&](const SearchFolder& known) { return known.path == folder.path; });
  if (!is_known) search_path.folders.push_back(std::move(folder));
}

void add_environment(SearchPath& search_path, std::string_view value) {
  while (!value.empty()) {
    const std::size_t colon = value.find(':');
    const std::filesystem::path folder(value.substr(0, colon));
    if (folder.is_absolute()) {
      add(search_path, {folder, FolderSource::environment, {}});
    } else {
      search_path.warnings.push_back(
          fmt::format("QUIVER_PLUGIN_PATH: the entry '{}' is left out, because it depends on the "
                      "current folder: "
                      "write an absolute path",
                      folder.string()));
    }
    if (colon == std::string_view::npos) break;
    value.remove_prefix(colon + 1);
  }
}

}  // namespace

std::filesystem::path user_folder(const char* variable, std::string_view below_home) {
  // The specification says: a relative path is invalid and to be ignored.
  if (const std::filesystem::path folder = environment(variable); folder.is_absolute())
    return folder;
  const std::filesystem::path home = home_folder();
  return home.empty() ? home : home / below_home;
}

SearchPathSettings process_search_settings(std::span<const std::filesystem::path> option_folders) {
  std::error_code error;
  SearchPathSettings settings;
  settings.option_folders.assign(option_folders.begin(), option_folders.end());
  settings.environment = environment("QUIVER_PLUGIN_PATH");
  settings.data_home = user_folder("XDG_DATA_HOME", ".local/share");
  settings.program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) settings.program.clear();
  return settings;
}

SearchPath make_search_path(const SearchPathSettings& settings) {
  SearchPath search_path;
  for (const std::filesystem::path& folder : settings.option_folders) {
    if (folder.empty()) {
      throw Error(ErrorCode::usage, "--plugin-path names no folder", {},
                  "write --plugin-path FOLDER");
    }
    const std::filesystem::path path = std::filesystem::absolute(folder);
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      search_path.warnings.push_back(
          fmt::format("--plugin-path: {} is no folder that can be read", folder.string()));
    }
    add(search_path, {path, FolderSource::option, {}});
  }
  add_environment(search_path, settings.environment);
  if (!settings.data_home.empty()) {
    add(search_path, {settings.data_home / "quiver" / "plugins", FolderSource::user, {}});
  }
  if (settings.program.is_absolute()) {
    const std::filesystem::path prefix = settings.program.parent_path().parent_path();
    add(search_path, {prefix / kFolderInPrefix, FolderSource::installed, prefix});
  }
  return search_path;
}

}  // namespace quiver
