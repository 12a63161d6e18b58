// Memory for the tensors of a forward pass: allocated by moving a pointer, freed all at once.
#include "core/ops/arena.hpp"

#include <algorithm>
#include <functional>
#include <new>

namespace quiver {
namespace {
constexpr std::size_t kAlignment = 16;           // floats: 64 bytes
constexpr std::size_t kChunkFloats = 1U << 18U;  // 1 MiB
}  // namespace

void Arena::Free::operator()(float* memory) const noexcept {
  ::operator delete (memory, std::align_val_t{64});
}

float* Arena::allocate(std::size_t count) {
  count = (count + kAlignment - 1) / kAlignment * kAlignment;
  while (chunk_ < chunks_.size() && chunks_[chunk_].size - used_ < count) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const std::size_t size = std::max(count, kChunkFloats);
    void* memory = ::operator new (size * sizeof(float), std::align_val_t{64});
    chunks_.push_back({std::unique_ptr<float, Free>(static_cast<float*>(memory)), size});
  }
  float* result = chunks_[chunk_].memory.get() + used_;
  used_ += count;
  return result;
}

bool Arena::owns(const float* pointer) const noexcept {
  const std::less<const float*> before;
  for (std::size_t i = 0; i < chunks_.size() && i <= chunk_; ++i) {
    const float* begin = chunks_[i].memory.get();
    const std::size_t used = i < chunk_ ? chunks_[i].size : used_;
    if (!before(pointer, begin) && before(pointer, begin + used)) return true;
  }
  return false;
}

std::size_t Arena::capacity_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const Chunk& chunk : chunks_) bytes += chunk.size * sizeof(float);
  return bytes;
}

}  // namespace quiver
