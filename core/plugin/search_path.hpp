// Where plugins are looked for, and in which order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Who named a folder.
enum class FolderSource : std::uint8_t { option, environment, user, installed };

/// One folder of the search path. It need not exist.
struct SearchFolder {
  std::filesystem::path path;  ///< Absolute.
  FolderSource source = FolderSource::option;

  /// Folders above the plugin folder are checked for trust as far as this one, exclusively; empty =
  /// as far as the root. Set for the folder beside the program: who can exchange what lies above
  /// both can exchange the program too.
  std::filesystem::path trusted_root;
};

/// The folders in order, without repetitions, and what was wrong with the settings.
struct SearchPath {
  std::vector<SearchFolder> folders;
  std::vector<std::string> warnings;  ///< Complete sentences, for stderr.
};

/// What a search path is made from.
struct SearchPathSettings {
  std::vector<std::filesystem::path> option_folders;  ///< --plugin-path, in order.
  std::string environment;          ///< Value of QUIVER_PLUGIN_PATH; folders separated by colons.
  std::filesystem::path data_home;  ///< The user's data folder; empty = there is none.
  std::filesystem::path program;    ///< The running executable; empty = unknown.
};

/// The settings of this process: the environment (ignored in a set-uid program), the user's home,
/// /proc/self/exe. [any-thread]
SearchPathSettings process_search_settings(std::span<const std::filesystem::path> option_folders);

/// The search path: the option's folders, those of the environment, DATA_HOME/quiver/plugins, and
/// lib/quiver/plugins beside the program's bin folder. The current folder is never searched unless
/// the option names it: relative and empty entries of the environment are left out with a warning.
/// Throws Error(usage) for an empty folder of the option. [any-thread]
SearchPath make_search_path(const SearchPathSettings& settings);

/// The folder of a kind that the XDG base directory specification gives a user, e.g.
/// ("XDG_CACHE_HOME", ".cache"); empty where the user has no home. [any-thread]
std::filesystem::path user_folder(const char* variable, std::string_view below_home);

}  // namespace quiver
