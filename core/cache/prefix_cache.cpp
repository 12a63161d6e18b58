// Beginnings of texts that were processed before, kept so that later texts can share them.
#include "core/cache/prefix_cache.hpp"

#include <algorithm>
#include <iterator>
#include <quiver/error.hpp>

namespace quiver {

bool PrefixCache::TokensLess::operator()(std::span<const std::int32_t> a,
                                         std::span<const std::int32_t> b) const {
  return std::ranges::lexicographical_compare(a, b);
}

PrefixCache::PrefixCache(int grid, std::size_t limit_bytes)
    : grid_(static_cast<std::size_t>(grid)), limit_bytes_(limit_bytes) {
  if (grid <= 0 || grid % KvStrategy::kTokens != 0) {
    throw Error(ErrorCode::internal, "the grid of shared prefixes does not end with pages");
  }
}

PrefixCache::~PrefixCache() {
  // From the leaves on, because a long text would otherwise be destroyed by as deep a recursion.
  while (!recency_.empty()) drop(recency_.back());
}

std::vector<PrefixCache::Node*> PrefixCache::find(std::string_view key,
                                                  std::span<const std::int32_t> tokens) {
  std::vector<Node*> path;
  const auto root = roots_.find(key);
  if (root == roots_.end()) return path;
  Children* children = &root->second;
  for (std::size_t at = 0; at + grid_ <= tokens.size(); at += grid_) {
    const auto found = children->find(tokens.subspan(at, grid_));
    if (found == children->end()) break;
    path.push_back(found->second.get());
    children = &path.back()->children;
  }
  return path;
}

int PrefixCache::extend(Sequence& sequence, std::string_view key,
                        std::span<const std::int32_t> tokens) {
  const int before = sequence.length();
  const std::size_t held = static_cast<std::size_t>(before) / grid_;
  if (static_cast<std::size_t>(before) % grid_ != 0) {
    throw Error(ErrorCode::internal, "a text can share a beginning from the grid only");
  }
  const std::vector<Node*> path = find(key, tokens);
  if (path.size() <= held) return 0;
  std::vector<const SequencePart*> parts;
  for (std::size_t i = held; i < path.size(); ++i) parts.push_back(&path[i]->part);
  sequence.extend(parts);
  touch(path.back());
  return sequence.length() - before;
}

void PrefixCache::keep(const Sequence& sequence, std::string_view key,
                       std::span<const std::int32_t> tokens) {
  const auto length = static_cast<std::size_t>(sequence.length());
  if (length == 0 || length % grid_ != 0 || length > tokens.size()) {
    throw Error(ErrorCode::internal, "a beginning can be kept at the grid only");
  }
  if (limit_bytes_ == 0) return;
  const std::vector<Node*> path = find(key, tokens.first(length));
  const std::size_t before = length / grid_ - 1;
  if (path.size() > before) touch(path.back());
  // Blocks are kept when their tokens are new; what has been stored since is shared, too.
  for (std::size_t i = 0; i < path.size(); ++i) {
    sequence.complete(path[i]->part, static_cast<int>(i * grid_));
  }
  if (path.size() != before) return;
  Node* parent = path.empty() ? nullptr : path.back();

  auto node = std::make_unique<Node>();
  node->parent = parent;
  node->part = sequence.part(static_cast<int>(length - grid_));
  node->size_bytes = sequence.part_bytes(static_cast<int>(grid_)) + node->part.state.size_bytes() +
                     grid_ * sizeof(std::int32_t) + sizeof(Node);
  if (parent != nullptr) touch(parent);
  if (!make_room(node->size_bytes, parent)) return;
  const auto block = tokens.subspan(length - grid_, grid_);
  // Only now, because making room may have dropped the last block of this key.
  Children& siblings =
      parent != nullptr ? parent->children : roots_.try_emplace(std::string(key)).first->second;
  Node* const kept = node.get();
  kept->siblings = &siblings;
  recency_.push_front(kept);
  try {
    kept->place =
        siblings.emplace(std::vector<std::int32_t>(block.begin(), block.end()), std::move(node))
            .first;
  } catch (...) {
    recency_.pop_front();
    throw;
  }
  kept->recency = recency_.begin();
  size_bytes_ += kept->size_bytes;
  if (parent != nullptr) touch(parent);
}

bool PrefixCache::make_room(std::size_t bytes, const Node* parent) {
  if (bytes > limit_bytes_) return false;
  // The blocks before the new one were used last, so they stand before all others.
  while (size_bytes_ > limit_bytes_ - bytes) {
    if (recency_.back() == parent) return false;
    drop(recency_.back());
  }
  return true;
}

std::size_t PrefixCache::evict_unused(std::size_t bytes) {
  std::size_t freed = 0;
  for (auto next = recency_.end(); next != recency_.begin() && freed < bytes;) {
    Node* const node = *--next;
    if (!node->children.empty() || !has_unshared(node)) continue;
    freed += node->part.unshared_bytes();
    next = drop(node);
  }
  return freed;
}

/// Whether a block or one before it, which goes after it, holds pages that nobody else does.
bool PrefixCache::has_unshared(const Node* node) {
  while (node != nullptr && node->part.unshared_bytes() == 0) node = node->parent;
  return node != nullptr;
}

void PrefixCache::touch(Node* node) {
  for (; node != nullptr; node = node->parent) {
    recency_.splice(recency_.begin(), recency_, node->recency);
  }
}

PrefixCache::Recency::iterator PrefixCache::drop(Node* node) {
  size_bytes_ -= node->size_bytes;
  const auto next = recency_.erase(node->recency);
  const bool is_first = node->parent == nullptr;
  node->siblings->erase(node->place);
  if (is_first) std::erase_if(roots_, [](const auto& root) { return root.second.empty(); });
  return next;
}

}  // namespace quiver
