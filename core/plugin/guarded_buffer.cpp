// Maps memory between forbidden pages.
#include "core/plugin/guarded_buffer.hpp"

#include <quiver/error.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace quiver {
namespace {

constexpr auto kPattern = std::byte{0xA5};

}  // namespace

GuardedMemory::GuardedMemory(std::size_t bytes, GuardSide side, std::size_t alignment)
    : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // At least one page, so that an empty buffer has an address of its own between the guards.
  page_bytes_ = (std::max<std::size_t>(bytes, 1) + page - 1) / page * page;
  mapping_bytes_ = page_bytes_ + 2 * page;
  void* mapping = ::mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw Error(ErrorCode::resources, "no memory for a guarded buffer", {}, "free some memory");
  }
  mapping_ = static_cast<std::byte*>(mapping);
  pages_ = mapping_ + page;
  if (::mprotect(pages_, page_bytes_, PROT_READ | PROT_WRITE) != 0) {
    ::munmap(mapping_, mapping_bytes_);
    throw Error(ErrorCode::resources, "no memory for a guarded buffer", {}, "free some memory");
  }
  const std::size_t offset =
      side == GuardSide::before ? 0 : (page_bytes_ - bytes) / alignment * alignment;
  data_ = pages_ + offset;
  std::memset(pages_, static_cast<int>(kPattern), page_bytes_);
  std::memset(data_, 0, bytes_);
}

GuardedMemory::~GuardedMemory() {
  ::munmap(mapping_, mapping_bytes_);
}

void GuardedMemory::make_read_only() {
  ::mprotect(pages_, page_bytes_, PROT_READ);
}

bool GuardedMemory::is_intact() const {
  const auto is_pattern = [](std::byte byte) { return byte == kPattern; };
  return std::all_of(pages_, data_, is_pattern) &&
         std::all_of(data_ + bytes_, pages_ + page_bytes_, is_pattern);
}

}  // namespace quiver
