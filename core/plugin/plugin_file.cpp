// A plugin's file, opened once: what was checked and hashed is what is read and loaded.
#include "core/plugin/plugin_file.hpp"

#include "core/plugin/byte_source.hpp"
#include "core/plugin/sha256.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <span>
#include <system_error>
#include <utility>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace quiver {

struct PluginFile::Handle {
  explicit Handle(int number) : descriptor(number) {}
  ~Handle() { ::close(descriptor); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  int descriptor;
};

namespace {

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// A library that is mapped, and the state that its file was in then.
struct Resident {
  FileIdentity identity;
  boost::dll::shared_library library;
};

/// All libraries that were loaded. Never destroyed, so that nothing is unmapped at exit under the
/// feet of destructors that still run.
struct Residents {
  std::mutex mutex;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Resident> by_inode;
};

Residents& residents() {
  static auto* const all = new Residents;
  return *all;
}

/// The words of the loader about a file that was opened by a number of ours: with its real name.
std::string loader_words(const std::string& load_path, const std::filesystem::path& path) {
  const char* const words = ::dlerror();
  std::string text = words != nullptr ? words : "the loader gives no reason";
  for (std::size_t at = text.find(load_path); at != std::string::npos;
       at = text.find(load_path, at + 1)) {
    text.replace(at, load_path.size(), path.filename().string());
  }
  return text;
}

boost::dll::shared_library open_library(const std::string& load_path,
                                        const std::filesystem::path& path) {
  using boost::dll::load_mode::rtld_local;
  using boost::dll::load_mode::rtld_now;
  std::error_code error;
  boost::dll::shared_library library(load_path, rtld_now | rtld_local, error);
  if (!error) return library;
  // Boost keeps only a code; the loader's own words come from asking once more.
  if (void* handle = ::dlopen(load_path.c_str(), RTLD_NOW | RTLD_LOCAL); handle != nullptr) {
    ::dlclose(handle);
    library.load(load_path, rtld_now | rtld_local);
    return library;
  }
  throw Error(ErrorCode::plugin, "the plugin does not load: " + loader_words(load_path, path),
              path.string(), "install what it needs, or rebuild it");
}

}  // namespace

PluginFile::PluginFile(std::shared_ptr<const Handle> handle, std::filesystem::path path,
                       const FileIdentity& identity)
    : handle_(std::move(handle)), path_(std::move(path)), identity_(identity) {}

PluginFile PluginFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO would wait for ever otherwise.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    throw Error(ErrorCode::plugin,
                fmt::format("the plugin cannot be opened: {}", std::strerror(errno)), path.string(),
                "check that it exists and may be read");
  }
  return adopt(descriptor, path);
}

PluginFile PluginFile::adopt(int descriptor, const std::filesystem::path& path) {
  auto handle = std::make_shared<const Handle>(descriptor);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::plugin, "a plugin must be a regular file", path.string(),
                "remove what stands in its place");
  }
  return {std::move(handle), path,
          FileIdentity{status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
                       nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)}};
}

int PluginFile::descriptor() const {
  return handle_->descriptor;
}

std::string PluginFile::sha256() const {
  return sha256_hex(FileBytes(descriptor(), identity_.size));
}

std::string PluginFile::read(std::size_t limit_bytes) const {
  if (identity_.size > limit_bytes) {
    throw Error(ErrorCode::plugin, fmt::format("the file is larger than {} bytes", limit_bytes),
                path_.string());
  }
  std::string content(identity_.size, '\0');
  if (!FileBytes(descriptor(), identity_.size)
           .read(0, std::as_writable_bytes(std::span(content)))) {
    throw Error(ErrorCode::plugin, "the file cannot be read", path_.string());
  }
  return content;
}

std::string PluginFile::load_path() const {
  return fmt::format("/proc/self/fd/{}", descriptor());
}

void PluginFile::keep_open() const {
  static std::mutex mutex;
  static auto* const kept = new std::map<int, std::shared_ptr<const Handle>>;
  const std::lock_guard lock(mutex);
  kept->emplace(descriptor(), handle_);
}

const boost::dll::shared_library& PluginFile::load() const {
  Residents& all = residents();
  const std::lock_guard lock(all.mutex);
  const auto inode = std::pair(identity_.device, identity_.inode);
  if (const auto found = all.by_inode.find(inode); found != all.by_inode.end()) {
    // Not ctime: renaming and chmod touch it, too.
    const FileIdentity& mapped = found->second.identity;
    if (mapped.size == identity_.size && mapped.mtime_ns == identity_.mtime_ns) {
      return found->second.library;
    }
    throw Error(ErrorCode::plugin, "the plugin was rewritten while it is in use", path_.string(),
                "restart the program; replace plugins by renaming over them");
  }
  boost::dll::shared_library library = open_library(load_path(), path_);
  keep_open();
  return all.by_inode.emplace(inode, Resident{identity_, std::move(library)}).first->second.library;
}

}  // namespace quiver
