// The pages of one sequence in one layer: as they are stored, or still as they were written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <quiver/kv_strategy.hpp>
#include <span>
#include <vector>

#include "core/cache/page_pool.hpp"

namespace quiver {

/// Distance of the places where a text's tokens change from fresh to stored; a multiple of the page
/// size.
inline constexpr int kStoreGrid = 256;

/// How many of a text's first tokens the row at `position` sees stored. It depends on nothing but
/// the row's place, so that chunks, batches and schedules cannot change a bit. [any-thread]
template <class Integer>
constexpr Integer stored_tokens(Integer position, Integer recent) {
  return position < recent ? 0 : (position - recent) / kStoreGrid * kStoreGrid;
}

/// The next position whose row sees more tokens stored than the row at `position`. [any-thread]
constexpr int next_stored(int position, int recent) {
  return stored_tokens(position, recent) + kStoreGrid + recent;
}

/// Sizes of a layer's pages.
struct PageSizes {
  std::size_t stored = 0;  ///< 0: the sequence does not keep the layer.
  std::size_t fresh = 0;   ///< 0: tokens are stored at once, there is one form of a page only.
  int recent = 0;          ///< See KvPlan; at least 1 where `fresh` is not 0.
};

/// Bytes that `tokens` tokens need while no pass is under way. [any-thread]
std::size_t page_bytes(const PageSizes& sizes, int tokens);

/// One page in the forms that there are of it.
struct PageForms {
  PagePtr stored;
  PagePtr fresh;

  std::size_t size_bytes() const noexcept;
  /// Bytes that go back to the pool if this holder lets go.
  std::size_t unshared_bytes() const noexcept;
};

/// Bytes of a layer in ordinary memory: the first `stored` pages stored, the others fresh.
struct SavedPages {
  int stored = 0;
  std::vector<std::byte> bytes;
};

/// The page table of a layer, and what becomes of its pages when tokens come and go. Tokens are
/// written to fresh pages where there are any. A page is stored once rows see it so, and its fresh
/// form goes when no row can see it any more: until then rows before and behind the change may be
/// in one pass, and may be taken back. Copies share pages. [one-call-at-a-time]
class LayerPages {
 public:
  int size() const noexcept { return static_cast<int>(pages_.size()); }

  /// Pages that are stored; meaningful where there are two forms.
  int stored() const noexcept { return stored_; }

  /// Makes room for tokens up to `end`, and for the stored forms that their rows see. Throws
  /// Error(resources); cut() then undoes what was done.
  void make_room(PagePool& pool, const PageSizes& sizes, int end);

  /// Bytes that make_room() takes.
  std::size_t growth_bytes(const PageSizes& sizes, int end) const;

  /// Whether a text of `length` tokens can go on from these pages.
  bool can_cut(const PageSizes& sizes, int length) const noexcept;

  /// Lets go of what a text of `length` tokens does not need: tokens behind it, and fresh forms.
  void cut(const PageSizes& sizes, int length);

  /// Page `index` for writing tokens; copied first where it is shared.
  std::byte* writable(PagePool& pool, int index);

  const std::byte* stored_page(int index) const { return page(index).stored->bytes(); }
  const std::byte* fresh_page(int index) const { return page(index).fresh->bytes(); }

  /// The stored form that make_room() made of page `index`, for filling.
  std::byte* page_to_store(int index) const { return page(index).stored->bytes(); }
  void set_stored(int pages) noexcept { stored_ = std::max(stored_, pages); }

  /// Pages from `first` on, shared.
  std::vector<PageForms> part(int first) const;

  /// Takes up the pages of the tokens that follow. cut() lets go of what is too much.
  void extend(const PageSizes& sizes, std::span<const PageForms> pages);
  void reserve(std::size_t more) { pages_.reserve(pages_.size() + more); }

  /// Gives stored forms to `pages`, which hold the tokens from page `first` on and lack them.
  void complete(std::span<PageForms> pages, int first) const;

  SavedPages save(const PageSizes& sizes) const;

  /// The table of a saved text of `length` tokens, which shares the pages that this one, of the
  /// text's first tokens, has already. Throws Error(resources).
  LayerPages restored(PagePool& pool, const PageSizes& sizes, const SavedPages& saved,
                      int length) const;

  /// Bytes that restored() takes, and then make_room() up to `end`.
  std::size_t restore_bytes(const PageSizes& sizes, const SavedPages& saved, int length,
                            int end) const;

  std::size_t size_bytes() const noexcept;

 private:
  const PageForms& page(int index) const { return pages_[static_cast<std::size_t>(index)]; }
  PageForms& page(int index) { return pages_[static_cast<std::size_t>(index)]; }
  int restored_final(const PageSizes& sizes, const SavedPages& saved, int length) const;
  bool has(const PageSizes& sizes, int index, bool is_stored) const;

  std::vector<PageForms> pages_;
  int stored_ = 0;  // leading pages whose stored form has its tokens
  int final_ = 0;   // leading pages that have no fresh form any more
};

}  // namespace quiver
