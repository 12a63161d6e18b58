// Handles of what a model is made of. A family holds handles and never touches a tensor's memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace quiver {

/// A float32 matrix inside one forward pass: the rows of that forward's batch by `width` columns.
/// The rows and their memory belong to the Ops that made it. A tensor made inside a block is valid
/// until that block ends, unless the block leaves it in its Stream.
struct Tensor {
  std::int32_t id = -1;
  std::int32_t width = 0;
  explicit operator bool() const noexcept { return id >= 0; }
};

/// What flows from block to block: the residual `x`, and side tensors whose meaning is the family's
/// own (per-layer inputs, features of several scales). The host copies a Stream to restart at a
/// block, to checkpoint, or to hand it to another machine.
struct Stream {
  static constexpr std::size_t kMaxSides = 15;
  Tensor x;
  std::array<Tensor, kMaxSides> side{};
};

// Parts of a model, taken from Weights while it is built. A default-made handle is "none" and
// false.

struct Linear {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};
struct Embedding {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};
struct Norm {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};
struct CausalConv {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};
struct Rope {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};
struct KvCache {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};

}  // namespace quiver
