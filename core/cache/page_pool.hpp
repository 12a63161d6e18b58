// Pages of key-value memory: allocated from one budget, shared between sequences.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace quiver {

class PagePool;

/// One page of some layer's cache. Bytes are aligned to 64.
class Page {
 public:
  Page(PagePool& pool, std::byte* bytes, std::size_t size) noexcept
      : pool_(pool), bytes_(bytes), size_(size) {}
  ~Page();
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  std::byte* bytes() noexcept { return bytes_; }
  const std::byte* bytes() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return size_; }

 private:
  PagePool& pool_;
  std::byte* bytes_;
  std::size_t size_;
};

/// Sequences that share a prefix hold the same pages; the count decides when one must be copied
/// before it is written.
using PagePtr = std::shared_ptr<Page>;

/// Hands out pages and takes them back for reuse. Outlives every page. [any-thread]
class PagePool {
 public:
  /// `limit_bytes` of pages in use at most; 0 = no limit.
  explicit PagePool(std::size_t limit_bytes = 0) : limit_bytes_(limit_bytes) {}
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  /// A page of `size` bytes with unspecified content. Throws Error(resources) at the limit.
  PagePtr allocate(std::size_t size);

  std::size_t used_bytes() const noexcept { return used_bytes_.load(); }

  /// 0 = no limit.
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }

  /// Bytes that can be allocated before the limit is reached.
  std::size_t available_bytes() const noexcept;

 private:
  friend class Page;
  std::byte* take(std::size_t size);
  void add_slab(std::size_t size);
  void release(std::byte* bytes, std::size_t size) noexcept;

  std::size_t limit_bytes_;
  std::atomic<std::size_t> used_bytes_{0};
  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<std::byte*>> free_;  // by size
  std::vector<std::byte*> slabs_;                                  // many pages each
};

}  // namespace quiver
