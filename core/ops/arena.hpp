// Memory for the tensors of a forward pass: allocated by moving a pointer, freed all at once.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace quiver {

/// Hands out float arrays aligned to 64 bytes. Chunks are kept for the next use, so a steady state
/// allocates nothing. [one-call-at-a-time]
class Arena {
 public:
  /// `count` floats with unspecified content, valid until reset().
  float* allocate(std::size_t count);

  /// Frees everything that was handed out.
  void reset() noexcept {
    chunk_ = 0;
    used_ = 0;
  }

  /// Whether `pointer` was handed out by this arena and not reset since.
  bool owns(const float* pointer) const noexcept;

  std::size_t capacity_bytes() const noexcept;

 private:
  struct Free {
    void operator()(float* memory) const noexcept;
  };
  struct Chunk {
    std::unique_ptr<float, Free> memory;
    std::size_t size;
  };
  std::vector<Chunk> chunks_;
  std::size_t chunk_ = 0;  // the one being filled
  std::size_t used_ = 0;   // floats of it
};

}  // namespace quiver
