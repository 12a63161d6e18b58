// Folders written beside their place and renamed.
#include "core/model/staging_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <quiver/error.hpp>
#include <string_view>

#include "core/tensor/file_error.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

/// The path without "." and trailing slashes, so that names can be appended to it.
fs::path tidy(const fs::path& place) {
  std::error_code error;
  const fs::path whole = fs::absolute(place, error).lexically_normal();
  fs::path named = whole.has_filename() ? whole : whole.parent_path();
  if (error || place.empty() || !named.has_filename()) {
    throw Error(ErrorCode::usage, "not a folder that can be made", printable(place.native(), 4096),
                "give the name of a new folder");
  }
  return named;
}

void refuse_existing(const fs::path& place, bool replaces, const std::string& marker) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(place, error);
  if (!fs::exists(status)) return;
  const std::string where = printable(place.native(), 4096);
  if (!fs::is_directory(status)) {
    throw Error(ErrorCode::usage, "there is something that is not a folder", where,
                "give the name of a new folder");
  }
  const bool is_empty = fs::is_empty(place, error);
  if (is_empty && !error) return;
  if (!replaces) {
    throw Error(ErrorCode::usage, "the folder exists already", where,
                "give the name of a new folder, or --force to replace it");
  }
  if (!fs::is_regular_file(place / marker, error)) {
    throw Error(ErrorCode::usage,
                fmt::format("the folder holds no {} and will not be replaced", marker), where,
                "give the name of a new folder");
  }
}

fs::path beside(const fs::path& place, const char* ending) {
  fs::path name = place;
  name += fmt::format(".{}{}", ::getpid(), ending);
  return name;
}

/// The process in a name PREFIX<process>..tmp, or 0.
pid_t process_in(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || !name.ends_with(".tmp")) return 0;
  name.remove_prefix(prefix.size());
  pid_t process = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), process);
  return error == std::errc() && process > 0 ? process : 0;
}

void rename_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw file_error("rename", to, errno);
}

/// Makes the rename last through a power cut; file systems that cannot do it are forgiven.
void flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

StagingFolder::StagingFolder(const fs::path& final_place, bool replaces, std::string marker)
    : final_(tidy(final_place)),
      staging_(beside(final_, ".tmp")),
      replaces_(replaces),
      marker_(std::move(marker)) {
  refuse_existing(final_, replaces_, marker_);
  remove_leftovers(final_);
  std::error_code ignored;
  fs::remove_all(staging_, ignored);  // of a process with this one's number
  if (::mkdir(staging_.c_str(), 0777) != 0) throw file_error("create", final_, errno);
}

StagingFolder::~StagingFolder() {
  if (is_committed_) return;
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
}

void StagingFolder::require_space(std::uint64_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(staging_, error);
  if (error || space.available >= bytes) return;
  throw Error(ErrorCode::resources,
              fmt::format("the model takes {} MB and the disk has {} MB left", bytes / 1000000 + 1,
                          space.available / 1000000),
              printable(final_.native(), 4096), "free disk space and try again");
}

void StagingFolder::commit() {
  refuse_existing(final_, replaces_, marker_);  // It may have appeared meanwhile.
  std::error_code error;
  const bool has_old = fs::is_directory(final_, error) && !fs::is_empty(final_, error);
  const fs::path old = beside(final_, ".old");
  if (has_old) rename_folder(final_, old);
  try {
    rename_folder(staging_, final_);  // An empty folder in its place is replaced by this.
  } catch (const Error&) {
    if (has_old) ::rename(old.c_str(), final_.c_str());
    throw;
  }
  is_committed_ = true;
  flush_folder(final_.parent_path());
  if (has_old) fs::remove_all(old, error);
}

void remove_leftovers(const fs::path& place) noexcept {
  try {
    const std::string prefix = place.filename().string() + ".";
    for (const auto& entry : fs::directory_iterator(place.parent_path())) {
      const pid_t process = process_in(entry.path().filename().string(), prefix);
      if (process == 0 || ::kill(process, 0) == 0 || errno != ESRCH) continue;
      std::error_code ignored;
      fs::remove_all(entry.path(), ignored);
    }
  } catch (const std::exception&) {
    // A folder that cannot be listed cannot be tidied either.
  }
}

}  // namespace quiver
