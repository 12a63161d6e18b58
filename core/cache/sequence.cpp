// One text being processed: its pages, its state slots, and what of them is settled.
#include "core/cache/sequence.hpp"

#include <algorithm>
#include <cstring>
#include <quiver/error.hpp>

namespace quiver {
namespace {

std::size_t at(std::int32_t id) {
  return static_cast<std::size_t>(id);
}

std::size_t pages_for(int tokens) {
  return static_cast<std::size_t>((tokens + KvStrategy::kTokens - 1) / KvStrategy::kTokens);
}

}  // namespace

Sequence::Sequence(PagePool& pool, const CacheLayout& layout)
    : pool_(&pool),
      layout_(&layout),
      tables_(layout.kv_layers.size()),
      recordings_(layout.windows.size()) {
  for (const CacheLayout::Window& window : layout.windows) {
    windows_.emplace_back(at(window.rows) * at(window.channels), 0.0F);
  }
}

void Sequence::begin(int rows) {
  if (pending_ != 0) throw Error(ErrorCode::internal, "a forward pass was not settled");
  const std::size_t pages = pages_for(length_ + rows);
  try {
    for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
      while (tables_[layer].size() < pages) {
        tables_[layer].push_back(pool_->allocate(layout_->kv_layers[layer].page_bytes));
      }
    }
  } catch (...) {
    for (auto& table : tables_) table.resize(std::min(table.size(), pages_for(length_)));
    throw;
  }
  pending_ = rows;
}

void Sequence::accept(int rows) {
  if (rows < 0 || rows > pending_)
    throw Error(ErrorCode::internal, "accepted more rows than were fed");
  for (std::size_t conv = 0; conv < windows_.size(); ++conv) {
    auto& recording = recordings_[conv];
    if (recording.empty()) continue;
    auto& window = windows_[conv];
    const auto keep = at(layout_->windows[conv].rows);
    const auto channels = at(layout_->windows[conv].channels);
    // The new window is the last `keep` rows of [old window; accepted inputs].
    std::vector<float> joined(window);
    joined.insert(joined.end(), recording.begin(),
                  recording.begin() + static_cast<std::ptrdiff_t>(at(rows) * channels));
    window.assign(joined.end() - static_cast<std::ptrdiff_t>(keep * channels), joined.end());
    recording.clear();
  }
  length_ += rows;
  pending_ = 0;
  for (auto& table : tables_) table.resize(std::min(table.size(), pages_for(length_)));
}

void Sequence::truncate(int length) {
  if (pending_ != 0 || length < 0 || length > length_) {
    throw Error(ErrorCode::internal, "a sequence cannot be cut there");
  }
  if (length != length_ && length != 0 && !windows_.empty()) {
    throw Error(ErrorCode::internal, "a sequence with windows cannot be cut at an arbitrary token");
  }
  length_ = length;
  for (auto& table : tables_) table.resize(pages_for(length));
  if (length == 0) {
    for (auto& window : windows_) std::ranges::fill(window, 0.0F);
  }
}

std::byte* Sequence::writable_page(KvCache layer, int index) {
  PagePtr& page = tables_[at(layer.id)][at(index)];
  if (page.use_count() > 1) {
    PagePtr copy = pool_->allocate(page->size());
    std::memcpy(copy->bytes(), page->bytes(), page->size());
    page = std::move(copy);
  }
  return page->bytes();
}

const std::byte* Sequence::page(KvCache layer, int index) const {
  return tables_[at(layer.id)][at(index)]->bytes();
}

std::span<const float> Sequence::window(CausalConv conv) const {
  return windows_[at(conv.id)];
}

void Sequence::record(CausalConv conv, std::span<const float> inputs) {
  recordings_[at(conv.id)].assign(inputs.begin(), inputs.end());
}

std::size_t Sequence::size_bytes() const {
  std::size_t bytes = 0;
  for (const auto& table : tables_) {
    for (const PagePtr& page : table) bytes += page->size();
  }
  for (const auto& window : windows_) bytes += window.size() * sizeof(float);
  return bytes;
}

}  // namespace quiver
