// Memory for the feature maps of a pass, reused map by map.
#include "core/vision/image_memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <limits>
#include <quiver/error.hpp>

namespace quiver {

void FreeMemory::operator()(void* memory) const noexcept {
  std::free(memory);
}

FloatMemory allocate_floats(std::size_t count) {
  // Large maps lie in huge pages where the system has them: a pass walks over tens of megabytes.
  constexpr std::size_t kHugePage = std::size_t{2} << 20U;
  constexpr std::size_t kLeastAlignment = 64;
  constexpr std::size_t kLimit = std::numeric_limits<std::ptrdiff_t>::max() / sizeof(float);
  // Some floats more than asked for: kernels read whole vectors at the end of a map.
  constexpr std::size_t kBeyond = 64;
  void* memory = nullptr;
  if (count < kLimit - 2 * kBeyond) {
    const std::size_t bytes = (count + kBeyond) * sizeof(float);
    const std::size_t alignment = bytes < kHugePage ? kLeastAlignment : kHugePage;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    memory = std::aligned_alloc(alignment, rounded);
    if (memory != nullptr && alignment == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);
  }
  if (memory == nullptr) {
    throw Error(ErrorCode::resources, "there is not enough memory for a feature map", {},
                "use a smaller picture size");
  }
  return FloatMemory(static_cast<float*>(memory));
}

int ImageMemory::take(std::size_t count) {
  // A buffer that is far too large would be missed by the map that needs it.
  constexpr std::size_t kMostWaste = 4;
  std::size_t best = buffers_.size();
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const Buffer& buffer = buffers_[i];
    if (buffer.is_taken || buffer.size < count || buffer.size / kMostWaste > count) continue;
    if (best == buffers_.size() || buffer.size < buffers_[best].size) best = i;
  }
  if (best == buffers_.size()) {
    Buffer buffer;
    buffer.memory = allocate_floats(count);
    buffer.size = count;
    buffers_.push_back(std::move(buffer));
  }
  buffers_[best].is_taken = true;
  return static_cast<int>(best);
}

void ImageMemory::give_back_all() {
  for (Buffer& buffer : buffers_) buffer.is_taken = false;
}

void ImageMemory::prepare_scratch(int workers) {
  if (scratch_.size() < static_cast<std::size_t>(workers)) {
    scratch_.resize(static_cast<std::size_t>(workers));
  }
}

float* ImageMemory::scratch(int worker, std::size_t count) {
  Buffer& buffer = scratch_[static_cast<std::size_t>(worker)];
  if (buffer.size < count) {
    buffer.memory = allocate_floats(count);
    buffer.size = count;
  }
  return buffer.memory.get();
}

std::size_t ImageMemory::capacity_bytes() const noexcept {
  std::size_t floats = 0;
  for (const Buffer& buffer : buffers_) floats += buffer.size;
  for (const Buffer& buffer : scratch_) floats += buffer.size;
  return floats * sizeof(float);
}

}  // namespace quiver
