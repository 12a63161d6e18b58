// Pages of key-value memory: allocated from one budget, shared between sequences.
#include "core/cache/page_pool.hpp"

#include <fmt/format.h>

#include <limits>
#include <new>
#include <quiver/error.hpp>

namespace quiver {
namespace {
constexpr std::align_val_t kAlignment{64};
}

Page::~Page() {
  pool_.release(bytes_, size_);
}

PagePool::~PagePool() {
  for (auto& [size, blocks] : free_) {
    for (std::byte* block : blocks) ::operator delete(block, kAlignment);
  }
}

PagePtr PagePool::allocate(std::size_t size) {
  const std::size_t used = used_bytes_.fetch_add(size) + size;
  if (limit_bytes_ != 0 && used > limit_bytes_) {
    used_bytes_.fetch_sub(size);
    throw Error(ErrorCode::resources,
                fmt::format("the key-value cache is full at {} MiB", limit_bytes_ >> 20U),
                "key-value cache", "use shorter or fewer texts, or raise the limit");
  }
  std::byte* bytes = nullptr;
  try {
    bytes = take(size);
  } catch (...) {
    used_bytes_.fetch_sub(size);
    throw;
  }
  return std::make_shared<Page>(*this, bytes, size);
}

std::byte* PagePool::take(std::size_t size) {
  {
    const std::lock_guard lock(mutex_);
    auto& blocks = free_[size];
    if (!blocks.empty()) {
      std::byte* bytes = blocks.back();
      blocks.pop_back();
      return bytes;
    }
  }
  return static_cast<std::byte*>(::operator new(size, kAlignment));
}

std::size_t PagePool::available_bytes() const noexcept {
  if (limit_bytes_ == 0) return std::numeric_limits<std::size_t>::max();
  const std::size_t used = used_bytes_.load();
  return used < limit_bytes_ ? limit_bytes_ - used : 0;
}

void PagePool::release(std::byte* bytes, std::size_t size) noexcept {
  used_bytes_.fetch_sub(size);
  const std::lock_guard lock(mutex_);
  free_[size].push_back(bytes);
}

}  // namespace quiver
