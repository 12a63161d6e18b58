// Reads files that may change or be anything: size and type are asked of the open file.
#include "core/text/text_file.hpp"

#include <quiver/error.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

namespace quiver::text {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const noexcept { return number_; }

 private:
  int number_;
};

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path) {
  throw Error(ErrorCode::bad_input, what, path.string(), "check the path and the file");
}

std::string reason() {
  return std::generic_category().message(errno);
}

}  // namespace

std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes) {
  // O_NONBLOCK: opening a pipe nobody writes to must not hang.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number() < 0) fail("cannot open the file: " + reason(), path);
  struct stat info {};
  if (::fstat(file.number(), &info) != 0) fail("cannot read the file: " + reason(), path);
  if (!S_ISREG(info.st_mode)) fail("not a regular file", path);
  if (static_cast<std::size_t>(info.st_size) > max_bytes) {
    fail("the file has " + std::to_string(info.st_size) + " bytes, more than the limit of " +
             std::to_string(max_bytes),
         path);
  }
  std::string content(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(file.number(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read the file: " + reason(), path);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  content.resize(done);
  return content;
}

}  // namespace quiver::text
