// Whether only trusted users can change a file or a folder.
#include "core/plugin/file_trust.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace quiver {
namespace {

constexpr mode_t kWritableByOthers = S_IWGRP | S_IWOTH;

std::string user_name(unsigned user) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return fmt::format("user {}", found->pw_name);
  }
  return fmt::format("user number {}", user);
}

/// Whether a group is the one that some systems make for each user alone: named like the user, its
/// primary group, without other members.
bool is_private_group(unsigned group, unsigned user) {
  std::array<char, 4096> user_buffer{};
  std::array<char, 16384> group_buffer{};
  passwd user_entry{};
  passwd* found_user = nullptr;
  group_buffer.fill(0);
  struct group group_entry {};
  struct group* found_group = nullptr;
  if (::getpwuid_r(user, &user_entry, user_buffer.data(), user_buffer.size(), &found_user) != 0 ||
      ::getgrgid_r(group, &group_entry, group_buffer.data(), group_buffer.size(), &found_group) !=
          0 ||
      found_user == nullptr || found_group == nullptr) {
    return false;
  }
  const bool has_members = found_group->gr_mem != nullptr && found_group->gr_mem[0] != nullptr;
  return found_user->pw_gid == group && !has_members &&
         std::strcmp(found_user->pw_name, found_group->gr_name) == 0;
}

Refusal foreign(const char* what, const std::filesystem::path& path, unsigned owner) {
  return {PluginFault::untrusted_owner,
          fmt::format("{} belongs to {}, who is neither you nor root: make it yours with chown",
                      fmt::format("{} {}", what, path.string()), user_name(owner))};
}

Refusal writable(PluginFault fault, const char* what, const std::filesystem::path& path,
                 mode_t mode) {
  return {fault, fmt::format("{} {} may be written by {}: run chmod go-w {}", what, path.string(),
                             (mode & S_IWOTH) != 0 ? "everyone" : "its group", path.string())};
}

}  // namespace

FileTrust::FileTrust() : user_(::geteuid()), program_owner_(user_) {
  struct stat status {};
  if (::stat("/proc/self/exe", &status) == 0) program_owner_ = status.st_uid;
}

bool FileTrust::is_trusted_owner(unsigned owner) const {
  return owner == 0 || owner == user_ || owner == program_owner_;
}

Refusal FileTrust::check_file(const struct stat& status, const std::filesystem::path& path) const {
  if (!is_trusted_owner(status.st_uid)) return foreign("the file", path, status.st_uid);
  if ((status.st_mode & kWritableByOthers) != 0) {
    return writable(PluginFault::writable_file, "the file", path, status.st_mode);
  }
  return {};
}

Refusal FileTrust::check_ancestor(const std::filesystem::path& folder) const {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    return {PluginFault::unreadable, fmt::format("the folder {} cannot be examined: {}",
                                                 folder.string(), std::strerror(errno))};
  }
  if (!is_trusted_owner(status.st_uid)) return foreign("the folder", folder, status.st_uid);
  const bool is_sticky = (status.st_mode & S_ISVTX) != 0;
  const bool only_group = (status.st_mode & S_IWOTH) == 0;
  if ((status.st_mode & kWritableByOthers) == 0 || is_sticky ||
      (only_group && user_ != 0 && is_private_group(status.st_gid, user_))) {
    return {};
  }
  return writable(PluginFault::writable_folder, "the folder", folder, status.st_mode);
}

Refusal FileTrust::check_folder(const std::filesystem::path& folder,
                                const std::filesystem::path& trusted_root) const {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(folder, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  struct stat status {};
  if (error || ::stat(real.c_str(), &status) != 0) {
    return {PluginFault::unreadable,
            fmt::format("the folder {} cannot be examined: {}", folder.string(), error.message())};
  }
  if (!is_trusted_owner(status.st_uid)) return foreign("the folder", real, status.st_uid);
  // Not even with the sticky bit: everyone could add a plugin.
  if ((status.st_mode & kWritableByOthers) != 0) {
    return writable(PluginFault::writable_folder, "the folder", real, status.st_mode);
  }
  const std::filesystem::path end =
      trusted_root.empty() ? trusted_root : std::filesystem::weakly_canonical(trusted_root, error);
  for (std::filesystem::path above = real; above.has_relative_path();) {
    above = above.parent_path();
    if (above == end) break;
    if (Refusal refusal = check_ancestor(above)) return refusal;
  }
  return {};
}

}  // namespace quiver
