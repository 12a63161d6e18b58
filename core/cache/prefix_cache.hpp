// Beginnings of texts that were processed before, kept so that later texts can share them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cache/sequence.hpp"

namespace quiver {

/// A tree of blocks of `grid` tokens. Each block holds its pages and the state behind its last
/// token, so a text can go on from the end of any block. Blocks are found by their tokens and by a
/// key of the caller's, in which stands whatever else decides what the caches hold (model, adapter,
/// rule, images, KV scheme).
///
/// Only prompt-form tokens may be kept: the same token computed while decoding can differ in its
/// last bits, and who shares it would depend on who came before.
///
/// Pages of a block are shared with the sequences that use it. [one-call-at-a-time], together with
/// all sequences that share pages with it; gone before the page pool.
class PrefixCache {
 public:
  /// `grid`: tokens of a block, a multiple of the page size. `limit_bytes` of pages, state and
  /// tokens at most, the least recently used going first; 0 keeps nothing.
  PrefixCache(int grid, std::size_t limit_bytes);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// Extends `sequence`, which holds the first length() of `tokens` and ends at the grid, by the
  /// longest kept beginning of `tokens`. Returns how many tokens were added.
  int extend(Sequence& sequence, std::string_view key, std::span<const std::int32_t> tokens);

  /// Keeps the last block of `sequence`, which holds the first length() of `tokens`, all in prompt
  /// form, and ends at the grid. Does nothing where the block is kept already, where the one before
  /// it is gone, or where there is no room for it beside the blocks before it.
  void keep(const Sequence& sequence, std::string_view key, std::span<const std::int32_t> tokens);

  /// Drops the least recently used blocks that no sequence shares, or that stand behind pages which
  /// none does, until `bytes` of pages have gone back to the pool or nothing is left to drop.
  /// Returns the bytes that went back.
  std::size_t evict_unused(std::size_t bytes);

  /// Bytes of pages, state and tokens that are kept, with room for pages that will be stored.
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  struct Node;
  /// Compares whole blocks, so that no two texts can be taken for one another.
  struct TokensLess {
    using is_transparent = void;  // NOLINT(readability-identifier-naming): the library's name
    bool operator()(std::span<const std::int32_t> a, std::span<const std::int32_t> b) const;
  };
  using Children = std::map<std::vector<std::int32_t>, std::unique_ptr<Node>, TokensLess>;
  using Recency = std::list<Node*>;
  struct Node {
    Node* parent = nullptr;        ///< nullptr for the first block of a text.
    Children* siblings = nullptr;  ///< The map that this block stands in.
    Children::iterator place;
    Recency::iterator recency;
    Children children;
    SequencePart part;
    std::size_t size_bytes = 0;
  };

  std::vector<Node*> find(std::string_view key, std::span<const std::int32_t> tokens);
  bool make_room(std::size_t bytes, const Node* parent);
  static bool has_unshared(const Node* node);
  void touch(Node* node);
  Recency::iterator drop(Node* node);

  std::size_t grid_;
  std::size_t limit_bytes_;
  std::size_t size_bytes_ = 0;
  std::map<std::string, Children, std::less<>> roots_;  // first blocks by key
  Recency recency_;  // latest first; a block stands behind the one that it follows
};

}  // namespace quiver
