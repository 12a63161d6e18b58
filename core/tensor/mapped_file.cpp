// Read-only mappings by mmap.
#include "core/tensor/mapped_file.hpp"

#include "core/tensor/file_error.hpp"
#include "core/tensor/printable.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace quiver {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) noexcept : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int value() const noexcept { return value_; }

 private:
  int value_;
};

std::size_t page_size() noexcept {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

int advice_of(MappedFile::Access access) noexcept {
  switch (access) {
    case MappedFile::Access::normal: return MADV_NORMAL;
    case MappedFile::Access::sequential: return MADV_SEQUENTIAL;
    case MappedFile::Access::random: return MADV_RANDOM;
    case MappedFile::Access::soon: return MADV_WILLNEED;
  }
  return MADV_NORMAL;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must not wait for a writer; for regular files it means nothing.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.value() < 0) throw file_error("open", path, errno);
  struct stat status = {};
  if (::fstat(file.value(), &status) != 0) throw file_error("inspect", path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::bad_input, S_ISDIR(status.st_mode) ? "is a folder" : "is not a file",
                printable(path.native(), 4096), "name a regular file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > static_cast<std::uint64_t>(PTRDIFF_MAX)) throw file_error("map", path, EFBIG);
  if (size == 0) return;
  void* address =
      ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, file.value(), 0);
  if (address == MAP_FAILED) throw file_error("map", path, errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = static_cast<std::size_t>(size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile old(std::move(*this));
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::advise(std::size_t offset, std::size_t size, Access access) const noexcept {
  if (offset >= size_) return;
  const std::size_t begin = offset / page_size() * page_size();
  const std::size_t end = offset + std::min(size, size_ - offset);
  if (begin == end) return;
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, advice_of(access));
}

void MappedFile::release(std::size_t offset, std::size_t size) const noexcept {
  if (offset >= size_) return;
  const std::size_t page = page_size();
  const std::size_t end = offset + std::min(size, size_ - offset);
  const std::size_t first = (offset + page - 1) / page * page;
  // The file's last page holds nothing but its end, so it goes with the last byte.
  const std::size_t last = end == size_ ? end : end / page * page;
  if (first >= last) return;
  ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

}  // namespace quiver
