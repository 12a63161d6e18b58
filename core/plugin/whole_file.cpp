// Small files of the host itself, read and replaced as a whole.
#include "core/plugin/whole_file.hpp"

#include "core/plugin/byte_source.hpp"

#include <quiver/error.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace quiver {
namespace {

[[noreturn]] void throw_not_written(const std::filesystem::path& file, int error) {
  throw Error(ErrorCode::resources,
              std::string("the file cannot be written: ") + std::strerror(error), file.string(),
              "check the folder's permissions and the space on the disk");
}

int write_all(int descriptor, std::string_view content) {
  while (!content.empty()) {
    const ssize_t count = ::write(descriptor, content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  return ::fsync(descriptor) == 0 ? 0 : errno;
}

}  // namespace

std::optional<std::string> read_small_file(const std::filesystem::path& file,
                                           std::size_t limit_bytes) {
  // O_NONBLOCK: opening a FIFO that took the file's place would wait for ever otherwise.
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return std::nullopt;
  std::optional<std::string> content;
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
      static_cast<std::uint64_t>(status.st_size) <= limit_bytes) {
    content.emplace(static_cast<std::size_t>(status.st_size), '\0');
    const FileBytes bytes(descriptor, content->size());
    if (!bytes.read(0, std::as_writable_bytes(std::span(*content)))) content.reset();
  }
  ::close(descriptor);
  return content;
}

void replace_file(const std::filesystem::path& file, std::string_view content) {
  std::error_code error;
  const std::filesystem::path folder = file.parent_path();
  if (!std::filesystem::is_directory(folder, error)) {
    std::filesystem::create_directories(folder, error);
    if (error) throw_not_written(folder, error.value());
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  }
  std::string beside = file.string() + ".XXXXXX";
  const int descriptor = ::mkostemp(beside.data(), O_CLOEXEC);
  if (descriptor < 0) throw_not_written(file, errno);
  int failure = write_all(descriptor, content);
  if (::close(descriptor) != 0 && failure == 0) failure = errno;
  if (failure == 0 && ::rename(beside.c_str(), file.c_str()) != 0) failure = errno;
  if (failure != 0) {
    ::unlink(beside.c_str());
    throw_not_written(file, failure);
  }
}

}  // namespace quiver
