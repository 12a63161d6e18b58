// A folder that appears under its name only when it is complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace quiver {

/// A folder in the making, a model's if nothing else is said: files are written into a folder
/// beside the final one (DIR.<process>.tmp), which commit() renames. Without commit() it is removed
/// with all that is in it; what a killed process has left, the next one removes. Two machines that
/// share a disk cannot make one folder at the same time. [one-call-at-a-time]
class StagingFolder {
 public:
  /// Makes the folder beside `final_place`, whose parent has to exist. A folder that is there
  /// already and is not empty is refused (ErrorCode::usage) unless `replaces`; even then only one
  /// that holds a file named `marker`, so that no other folder is lost to a mistyped name. Throws
  /// Error as file operations do.
  StagingFolder(const std::filesystem::path& final_place, bool replaces,
                std::string marker = "config.json");

  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;
  ~StagingFolder();

  /// Where to write.
  const std::filesystem::path& path() const noexcept { return staging_; }

  /// Throws Error(resources) where the disk has less than so many bytes left.
  void require_space(std::uint64_t bytes) const;

  /// Puts the folder into its place; what it replaces is removed afterwards. REQUIRES: called once.
  void commit();

 private:
  std::filesystem::path final_;
  std::filesystem::path staging_;
  bool replaces_ = false;
  std::string marker_;
  bool is_committed_ = false;
};

/// Removes what processes of this machine that no longer run have left beside `place`: files and
/// folders named `place`.<process>.tmp, with anything but a digit behind the number. Failures are
/// ignored: leftovers take space and do no other harm. [any-thread]
void remove_leftovers(const std::filesystem::path& place) noexcept;

}  // namespace quiver
