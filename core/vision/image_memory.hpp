// Memory for the feature maps of a pass, reused map by map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace quiver {

struct FreeMemory {
  void operator()(void* memory) const noexcept;
};

/// Floats aligned to 64 bytes, with unspecified content. Throws Error(resources).
using FloatMemory = std::unique_ptr<float[], FreeMemory>;
FloatMemory allocate_floats(std::size_t count);

/// Hands out buffers and takes them back, so that a steady state allocates nothing. One pass at a
/// time uses it. [one-call-at-a-time]
class ImageMemory {
 public:
  /// Index of a free buffer of at least `count` floats, the smallest that fits.
  int take(std::size_t count);
  float* data(int buffer) const { return buffers_[static_cast<std::size_t>(buffer)].memory.get(); }
  void give_back(int buffer) { buffers_[static_cast<std::size_t>(buffer)].is_taken = false; }
  void give_back_all();

  /// At least `count` floats for one worker, valid until its next call.
  float* scratch(int worker, std::size_t count);
  /// Room for so many workers; called before they start.
  void prepare_scratch(int workers);

  std::size_t capacity_bytes() const noexcept;

 private:
  struct Buffer {
    FloatMemory memory;
    std::size_t size = 0;
    bool is_taken = false;
  };
  std::vector<Buffer> buffers_;
  std::vector<Buffer> scratch_;
};

}  // namespace quiver
