// First use of a plugin, in a child process that may crash, hang or eat memory instead of us.
#pragma once

#include "core/plugin/plugin_entry.hpp"
#include "core/plugin/plugin_fault.hpp"
#include "core/plugin/plugin_file.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace quiver {

/// How far a rehearsal may go.
struct RehearsalLimits {
  std::chrono::milliseconds wall{10'000};
  std::chrono::seconds cpu{5};
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;  ///< Beyond what the empty host needs.
};

struct RehearsalOptions {
  RehearsalLimits limits;

  /// Program whose main() begins with is_rehearsal_call(); this very program unless set.
  std::filesystem::path program = "/proc/self/exe";
};

/// What a rehearsal showed.
struct Verdict {
  PluginFault fault = PluginFault::none;  ///< none = the plugin is fine.
  std::string reason;                     ///< One sentence, with the loader's own words.
  int signal = 0;                         ///< That ended the child; 0 = none did.

  bool is_ok() const { return fault == PluginFault::none; }
};

/// Loads the plugin in a child process and looks at it closely: opens with every symbol resolved;
/// sane entry; init and deinit twice; every offered kind has its interface, unknown ids have none;
/// every offer that needs no model can be made with its default options; nothing on stdout; a clean
/// exit. `files` are those of the entry, opened. Never throws for what a plugin does; throws
/// Error(resources) where no process can be started, and Error(internal) where the program is none
/// that rehearses, and inside a rehearsal, which never starts another. [any-thread]
Verdict rehearse(const PluginEntry& entry, std::span<const PluginFile> files,
                 const RehearsalOptions& options);

/// Whether this process was started by rehearse(). Asked first thing in main(). [any-thread]
bool is_rehearsal_call(int argc, const char* const* argv) noexcept;

/// What main() does then; returns the exit status.
int rehearsal_main(int argc, char** argv);

}  // namespace quiver
