// Write beside, flush, rename.
#include "core/tensor/atomic_file.hpp"

#include "core/tensor/file_error.hpp"
#include "core/tensor/printable.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

namespace quiver {

namespace {

/// Rows of small tensors come in pieces of a few hundred bytes; this many of them share a call.
constexpr std::size_t kBufferBytes = 256 * 1024;

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<unsigned> counter{0};
  std::filesystem::path name = path;
  name += '.';
  name += std::to_string(::getpid());
  name += '-';
  name += std::to_string(counter.fetch_add(1));
  name += ".tmp";
  return name;
}

void flush_folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw file_error("open", folder, errno);
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  // Some network file systems cannot flush folders; the rename has happened all the same.
  if (result != 0 && reason != EINVAL && reason != EROFS) throw file_error("flush", folder, reason);
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path, unsigned permissions) : path_(std::move(path)) {
  if (!path_.has_filename()) {
    throw Error(ErrorCode::bad_input, "is not the name of a file", printable(path_.native(), 4096));
  }
  // A name may be left over from a process of the same number that was killed.
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts && descriptor_ < 0; ++i) {
    temporary_ = temporary_name(path_);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, permissions);
    if (descriptor_ < 0 && errno != EEXIST) break;
  }
  if (descriptor_ < 0) throw file_error("create", path_, errno);
  buffer_.reserve(kBufferBytes);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      buffer_(std::move(other.buffer_)),
      written_(other.written_) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) throw Error(ErrorCode::internal, "write after commit");
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() > kBufferBytes) {
    write_through(bytes);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  written_ += bytes.size();
}

void AtomicFile::flush() {
  write_through(buffer_);
  buffer_.clear();
}

void AtomicFile::write_through(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw file_error("write", path_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void AtomicFile::commit() {
  if (descriptor_ < 0) throw Error(ErrorCode::internal, "commit called twice");
  flush();
  if (::fsync(descriptor_) != 0) throw file_error("flush", path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw file_error("rename", path_, errno);
  ::close(std::exchange(descriptor_, -1));
  flush_folder_of(path_);
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes,
                unsigned permissions) {
  AtomicFile file(path, permissions);
  file.write(bytes);
  file.commit();
}

}  // namespace quiver
