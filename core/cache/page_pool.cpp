// Pages of key-value memory: allocated from one budget, shared between sequences.
#include "core/cache/page_pool.hpp"

#include <fmt/format.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <limits>
#include <new>
#include <quiver/error.hpp>

namespace quiver {
namespace {

constexpr std::size_t kAlignment = 64;

#if defined(__SANITIZE_ADDRESS__)
// It watches the ends of allocations: every page is one.
constexpr std::size_t kHugePage = kAlignment;
constexpr std::size_t kSlabPages = 1;
#else
// Attention reads pages at random places of a memory that is much larger than what the processor's
// tables of small memory pages cover: with huge ones a long cache is read twice as fast.
constexpr std::size_t kHugePage = std::size_t{2} << 20U;
constexpr std::size_t kSlabPages = 8;  ///< At least, so that little is left over.
#endif
constexpr std::align_val_t kSlabAlignment{kHugePage};

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace

Page::~Page() {
  pool_.release(bytes_, size_);
}

PagePool::~PagePool() {
  for (std::byte* slab : slabs_) ::operator delete(slab, kSlabAlignment);
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
  const std::lock_guard lock(mutex_);
  auto& blocks = free_[size];
  if (blocks.empty()) add_slab(size);
  std::byte* bytes = blocks.back();
  blocks.pop_back();
  return bytes;
}

/// Allocates memory for more pages of a size.
void PagePool::add_slab(std::size_t size) {
  const std::size_t stride = round_up(size, kAlignment);
  const std::size_t bytes = round_up(stride * kSlabPages, kHugePage);
  slabs_.reserve(slabs_.size() + 1);
  free_[size].reserve(free_[size].size() + bytes / stride);
  auto* slab = static_cast<std::byte*>(::operator new(bytes, kSlabAlignment));
  slabs_.push_back(slab);
#if defined(__linux__)
  // A hint: without it everything works, only slower.
  static_cast<void>(::madvise(slab, bytes, MADV_HUGEPAGE));
#endif
  for (std::size_t page = bytes / stride; page-- > 0;) {
    free_[size].push_back(slab + page * stride);
  }
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
