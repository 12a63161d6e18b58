// A buffer between two pages that nobody may touch: writing outside it is seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quiver {

/// Which end of a buffer lies directly at a forbidden page. The other end has one too, but at a
/// distance of less than a page that is filled with a pattern.
enum class GuardSide : std::uint8_t { before, after };

/// Memory for guarded buffers. An access to a forbidden page ends the process with SIGSEGV, so it
/// is for child processes. [one-call-at-a-time]
class GuardedMemory {
 public:
  /// Throws Error(resources) where the system gives no memory. The usable bytes are zero.
  GuardedMemory(std::size_t bytes, GuardSide side, std::size_t alignment);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }

  /// Forbids writing from here on.
  void make_read_only();

  /// Whether the pattern around the usable bytes is unharmed.
  bool is_intact() const;

 private:
  std::byte* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
  std::byte* pages_ = nullptr;  ///< The pages that may be touched.
  std::size_t page_bytes_ = 0;  ///< Their size together.
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// `count` elements of a plain type. A buffer that ends at a forbidden page starts at a multiple of
/// `alignment`, so up to alignment - 1 bytes of pattern lie between them.
template <class T>
class GuardedBuffer {
 public:
  GuardedBuffer(std::size_t count, GuardSide side, std::size_t alignment = alignof(T))
      : memory_(count * sizeof(T), side, alignment), count_(count) {}

  T* data() { return reinterpret_cast<T*>(memory_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(memory_.data()); }
  std::span<T> span() { return {data(), count_}; }
  void make_read_only() { memory_.make_read_only(); }
  bool is_intact() const { return memory_.is_intact(); }

 private:
  GuardedMemory memory_;
  std::size_t count_;
};

}  // namespace quiver
