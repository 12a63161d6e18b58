// Whether only trusted users can change a file or a folder.
#pragma once

#include "core/plugin/plugin_fault.hpp"

#include <filesystem>

struct stat;

namespace quiver {

/// The rule, in the manner of sshd: code is loaded only from files that nobody else can exchange or
/// rewrite. "Nobody else" means other than root, the current user, and the owner of the running
/// program, who could change the program as well.
///
/// A file or a plugin folder is trusted where a trusted user owns it and neither its group nor
/// others may write. Folders above it may also be writable for others where the sticky bit keeps
/// them from exchanging what lies there (as /tmp), and for the user's own private group, which some
/// systems make the default. [any-thread]
class FileTrust {
 public:
  /// The rule for this process.
  FileTrust();

  /// Judges a file by what fstat() said about it. `path` is for the message.
  Refusal check_file(const struct stat& status, const std::filesystem::path& path) const;

  /// Judges a plugin folder and those above it, as far as `trusted_root` (exclusively; empty = to
  /// the root). Links are resolved first. A folder that does not exist is trusted.
  Refusal check_folder(const std::filesystem::path& folder,
                       const std::filesystem::path& trusted_root = {}) const;

 private:
  bool is_trusted_owner(unsigned owner) const;
  Refusal check_ancestor(const std::filesystem::path& folder) const;

  unsigned user_;
  unsigned program_owner_;
};

}  // namespace quiver
