// One text being processed: its pages, its state slots, and what of them is settled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <quiver/handles.hpp>
#include <quiver/kv_strategy.hpp>
#include <span>
#include <vector>

#include "core/cache/page_pool.hpp"

namespace quiver {

/// Sizes of everything a sequence keeps, one set per model and KV strategy.
struct CacheLayout {
  struct KvLayer {
    KvShape shape;
    std::size_t page_bytes = 0;
    int window = 0;  ///< 0 = all tokens.
  };
  struct Window {
    int rows = 0;  ///< Past inputs a convolution needs: kernel - 1.
    int channels = 0;
  };
  std::vector<KvLayer> kv_layers;  ///< By KvCache::id.
  std::vector<Window> windows;     ///< By CausalConv::id.
};

/// Caches of one sequence. Tokens [0, length()) are settled; a forward pass adds rows behind them
/// that stay tentative until accept() keeps some or all of them. Keys and values beyond the settled
/// length are simply written again; windows are rolled to the last accepted row.
///
/// A copy shares all pages and copies what is small; whoever writes to a shared page first copies
/// it. One thread at a time per sequence; sequences that share pages may be used in parallel.
class Sequence {
 public:
  /// Empty. Pool and layout outlive the sequence.
  Sequence(PagePool& pool, const CacheLayout& layout);

  /// Settled tokens.
  int length() const noexcept { return length_; }

  /// Rows of the forward pass that is under way or awaits accept().
  int pending() const noexcept { return pending_; }

  /// Difference between a token's index and its rotary position; see positions of images.
  int position_offset() const noexcept { return position_offset_; }
  void set_position_offset(int offset) noexcept { position_offset_ = offset; }

  /// Starts a forward pass over `rows` more tokens: makes room in every layer. Throws
  /// Error(resources), leaving the sequence as it was.
  void begin(int rows);

  /// Ends the pass: the first `rows` of the pending ones are settled, the others forgotten.
  void accept(int rows);

  /// Forgets all tokens from `length` on. Only possible where no window state exists beyond it,
  /// i.e. for layouts without windows or length 0; otherwise Error(internal).
  void truncate(int length);

  /// Page `index` of a layer for writing; copies it first if it is shared.
  std::byte* writable_page(KvCache layer, int index);

  /// Page `index` of a layer for reading.
  const std::byte* page(KvCache layer, int index) const;

  /// Past inputs of a convolution before this pass, oldest first: [rows, channels], zeros before
  /// the start of the sequence.
  std::span<const float> window(CausalConv conv) const;

  /// Records this pass's inputs [pending, channels] of a convolution, so that accept() can move its
  /// window to any of them.
  void record(CausalConv conv, std::span<const float> inputs);

  /// Bytes of pages and state that this sequence holds (shared pages counted in full).
  std::size_t size_bytes() const;

 private:
  PagePool* pool_;
  const CacheLayout* layout_;
  int length_ = 0;
  int pending_ = 0;
  int position_offset_ = 0;
  std::vector<std::vector<PagePtr>> tables_;    // [layer][page]
  std::vector<std::vector<float>> windows_;     // [conv][rows * channels]
  std::vector<std::vector<float>> recordings_;  // [conv][pending * channels]
};

}  // namespace quiver
