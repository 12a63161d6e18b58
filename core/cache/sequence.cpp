// One text being processed: its pages, its state slots, and what of them is settled.
#include "core/cache/sequence.hpp"

#include <algorithm>
#include <cstring>
#include <quiver/error.hpp>
#include <string>

namespace quiver {
namespace {

std::size_t at(std::int32_t id) {
  return static_cast<std::size_t>(id);
}

std::size_t pages_for(int tokens) {
  return static_cast<std::size_t>((tokens + KvStrategy::kTokens - 1) / KvStrategy::kTokens);
}

std::size_t bytes_of(const std::vector<std::vector<PagePtr>>& tables) {
  std::size_t bytes = 0;
  for (const auto& table : tables) {
    for (const PagePtr& page : table) bytes += page->size();
  }
  return bytes;
}

std::size_t bytes_of(const std::vector<std::vector<float>>& windows) {
  std::size_t bytes = 0;
  for (const auto& window : windows) bytes += window.size() * sizeof(float);
  return bytes;
}

}  // namespace

std::size_t page_bytes(const CacheLayout& layout, int tokens) {
  std::size_t bytes = 0;
  for (const CacheLayout::KvLayer& layer : layout.kv_layers) {
    bytes += pages_for(tokens) * layer.page_bytes;
  }
  return bytes;
}

std::size_t SequenceState::size_bytes() const noexcept {
  return bytes_of(windows);
}

std::size_t SequencePart::page_bytes() const noexcept {
  return bytes_of(pages);
}

Sequence::Sequence(PagePool& pool, const CacheLayout& layout)
    : pool_(&pool),
      layout_(&layout),
      tables_(layout.kv_layers.size()),
      recordings_(layout.windows.size()) {
  for (const CacheLayout::Window& window : layout.windows) {
    windows_.emplace_back(at(window.rows) * at(window.channels), 0.0F);
  }
}

void Sequence::make_room(int tokens) {
  const std::size_t pages = pages_for(tokens);
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
}

void Sequence::begin(int rows) {
  if (pending_ != 0) throw Error(ErrorCode::internal, "a forward pass was not settled");
  make_room(length_ + rows);
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

std::size_t Sequence::growth_bytes(int rows) const {
  return quiver::page_bytes(*layout_, length_ + rows) - quiver::page_bytes(*layout_, length_);
}

void Sequence::check_at_page(const char* action) const {
  if (pending_ == 0 && length_ % KvStrategy::kTokens == 0) return;
  throw Error(ErrorCode::internal,
              std::string("a sequence can be ") + action + " at the end of a page only");
}

SequenceState Sequence::state() const {
  return {windows_, position_offset_};
}

SequencePart Sequence::part(int start) const {
  check_at_page("shared");
  if (start < 0 || start > length_ || start % KvStrategy::kTokens != 0) {
    throw Error(ErrorCode::internal, "a sequence can be shared from the start of a page only");
  }
  SequencePart part{length_ - start, {}, state()};
  for (const auto& table : tables_) {
    part.pages.emplace_back(table.begin() + start / KvStrategy::kTokens, table.end());
  }
  return part;
}

void Sequence::extend(std::span<const SequencePart* const> parts) {
  check_at_page("extended");
  if (parts.empty()) return;
  const SequenceState& last = parts.back()->state;
  std::vector<std::vector<float>> windows = last.windows;  // what may throw comes first
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    std::size_t pages = tables_[layer].size();
    for (const SequencePart* part : parts) pages += part->pages[layer].size();
    tables_[layer].reserve(pages);
  }
  for (const SequencePart* part : parts) {
    for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
      const auto& pages = part->pages[layer];
      tables_[layer].insert(tables_[layer].end(), pages.begin(), pages.end());
    }
    length_ += part->tokens;
  }
  windows_ = std::move(windows);
  position_offset_ = last.position_offset;
}

SavedSequence Sequence::save() const {
  if (pending_ != 0) throw Error(ErrorCode::internal, "a forward pass was not settled");
  SavedSequence saved{length_, {}, state()};
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    auto& bytes = saved.pages.emplace_back();
    bytes.reserve(tables_[layer].size() * layout_->kv_layers[layer].page_bytes);
    for (const PagePtr& page : tables_[layer]) {
      bytes.insert(bytes.end(), page->bytes(), page->bytes() + page->size());
    }
  }
  return saved;
}

void Sequence::restore(const SavedSequence& saved) {
  check_at_page("restored");
  if (length_ > saved.length) {
    throw Error(ErrorCode::internal, "a sequence holds more than what is restored");
  }
  std::vector<std::vector<float>> windows = saved.state.windows;  // what may throw comes first
  make_room(saved.length);
  const auto first = pages_for(length_);
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    const std::size_t size = layout_->kv_layers[layer].page_bytes;
    for (std::size_t page = first; page < tables_[layer].size(); ++page) {
      std::memcpy(tables_[layer][page]->bytes(), saved.pages[layer].data() + page * size, size);
    }
  }
  windows_ = std::move(windows);
  position_offset_ = saved.state.position_offset;
  length_ = saved.length;
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
  return bytes_of(tables_) + bytes_of(windows_);
}

}  // namespace quiver
