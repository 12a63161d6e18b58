// One text being processed: its pages, its state slots, and what of them is settled.
#include "core/cache/sequence.hpp"

#include <algorithm>
#include <quiver/error.hpp>
#include <string>
#include <utility>

namespace quiver {
namespace {

std::size_t at(std::int32_t id) {
  return static_cast<std::size_t>(id);
}

std::size_t bytes_of(const std::vector<std::vector<float>>& windows) {
  std::size_t bytes = 0;
  for (const auto& window : windows) bytes += window.size() * sizeof(float);
  return bytes;
}

std::size_t bytes_of(const std::vector<RecurrentState>& states) {
  std::size_t bytes = 0;
  for (const RecurrentState& state : states) {
    bytes += (state.values.size() + state.updates.size()) * sizeof(float);
  }
  return bytes;
}

}  // namespace

std::size_t page_bytes(const CacheLayout& layout, int tokens) {
  std::size_t bytes = 0;
  for (std::size_t layer = 0; layer < layout.kv_layers.size(); ++layer) {
    bytes += page_bytes(layout.sizes(layer), tokens);
  }
  return bytes;
}

std::size_t SequenceState::size_bytes() const noexcept {
  return bytes_of(windows) + bytes_of(recurrences);
}

std::size_t SequencePart::unshared_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const auto& layer : pages) {
    for (const PageForms& page : layer) bytes += page.unshared_bytes();
  }
  return bytes;
}

Sequence::Sequence(PagePool& pool, const CacheLayout& layout)
    : pool_(&pool),
      layout_(&layout),
      tables_(layout.kv_layers.size()),
      recurrences_(layout.recurrences.size()),
      recurrence_recordings_(layout.recurrences.size()) {
  for (const CacheLayout::Window& window : layout.windows) {
    windows_.emplace_back(window.rows, window.channels);
  }
}

/// Lets go of pages that the settled tokens do not need.
void Sequence::cut_pages() {
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    tables_[layer].cut(layout_->sizes(layer), length_);
  }
}

void Sequence::begin(int rows) {
  if (pending_ != 0) throw Error(ErrorCode::internal, "a forward pass was not settled");
  try {
    for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
      tables_[layer].make_room(*pool_, layout_->sizes(layer), length_ + rows);
    }
  } catch (...) {
    cut_pages();
    throw;
  }
  pending_ = rows;
}

void Sequence::accept(int rows) {
  if (rows < 0 || rows > pending_)
    throw Error(ErrorCode::internal, "accepted more rows than were fed");
  accept_recurrences(rows);
  for (InputWindow& window : windows_) {
    // Of rows that are computed as a whole the last alone may be known.
    if (rows > 0 && rows < pending_ && window.recorded() != 0 && window.recorded() != pending_) {
      throw Error(ErrorCode::internal, "a part of a prompt's rows was accepted");
    }
    window.accept(rows);
  }
  length_ += rows;
  pending_ = 0;
  cut_pages();
}

void Sequence::accept_recurrences(int rows) {
  const bool is_part = rows > 0 && rows < pending_;
  const auto is_whole = [](const RecurrentState& r) { return !r.values.empty(); };
  if (is_part && std::ranges::any_of(recurrence_recordings_, is_whole)) {
    throw Error(ErrorCode::internal, "a part of a prompt's rows was accepted");
  }
  for (std::size_t rule = 0; rule < recurrences_.size(); ++rule) {
    RecurrentState& recorded = recurrence_recordings_[rule];
    if (rows > 0 && is_whole(recorded)) {
      recurrences_[rule].values = std::move(recorded.values);
    } else if (rows > 0 && !recorded.updates.empty()) {
      recorded.updates.resize(at(rows) * layout_->recurrences[rule].update_size);
      recurrences_[rule].updates = std::move(recorded.updates);
    }
    recorded = {};
  }
}

bool Sequence::can_truncate(int length) const noexcept {
  if (length == length_ || length == 0) return true;
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    if (!tables_[layer].can_cut(layout_->sizes(layer), length)) return false;
  }
  return windows_.empty() && recurrences_.empty();
}

void Sequence::truncate(int length) {
  if (pending_ != 0 || length < 0 || length > length_) {
    throw Error(ErrorCode::internal, "a sequence cannot be cut there");
  }
  if (!can_truncate(length)) {
    throw Error(ErrorCode::internal, "a sequence cannot go back to state that it no longer has");
  }
  length_ = length;
  cut_pages();
  if (length == 0) {
    for (InputWindow& window : windows_) window.clear();
    for (RecurrentState& state : recurrences_) state = {};
  }
}

std::size_t Sequence::growth_bytes(int rows) const {
  std::size_t bytes = 0;
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    bytes += tables_[layer].growth_bytes(layout_->sizes(layer), length_ + rows);
  }
  return bytes;
}

void Sequence::check_at_page(const char* action) const {
  if (pending_ == 0 && length_ % KvStrategy::kTokens == 0) return;
  throw Error(ErrorCode::internal,
              std::string("a sequence can be ") + action + " at the end of a page only");
}

SequenceState Sequence::state() const {
  SequenceState state{{}, recurrences_};
  for (const InputWindow& window : windows_) state.windows.push_back(window.values());
  return state;
}

void Sequence::set_state(SequenceState state) noexcept {
  for (std::size_t conv = 0; conv < windows_.size(); ++conv) {
    windows_[conv].set_values(std::move(state.windows[conv]));
  }
  recurrences_ = std::move(state.recurrences);
}

SequencePart Sequence::part(int start) const {
  check_at_page("shared");
  if (start < 0 || start > length_ || start % KvStrategy::kTokens != 0) {
    throw Error(ErrorCode::internal, "a sequence can be shared from the start of a page only");
  }
  SequencePart part{length_ - start, {}, state()};
  for (const auto& table : tables_) {
    part.pages.push_back(table.part(start / KvStrategy::kTokens));
  }
  return part;
}

void Sequence::extend(std::span<const SequencePart* const> parts) {
  check_at_page("extended");
  if (parts.empty()) return;
  const SequenceState& last = parts.back()->state;
  SequenceState taken = last;  // what may throw comes first
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    std::size_t pages = 0;
    for (const SequencePart* part : parts) pages += part->pages[layer].size();
    tables_[layer].reserve(pages);
  }
  for (const SequencePart* part : parts) {
    for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
      tables_[layer].extend(layout_->sizes(layer), part->pages[layer]);
    }
    length_ += part->tokens;
  }
  cut_pages();
  set_state(std::move(taken));
}

void Sequence::complete(SequencePart& part, int start) const {
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    tables_[layer].complete(part.pages[layer], start / KvStrategy::kTokens);
  }
}

std::size_t Sequence::part_bytes(int tokens) const {
  const auto pages = static_cast<std::size_t>(tokens / KvStrategy::kTokens);
  std::size_t bytes = 0;
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    const PageSizes sizes = layout_->sizes(layer);
    bytes += pages * (sizes.stored + sizes.fresh);
  }
  return bytes;
}

SavedSequence Sequence::save() const {
  if (pending_ != 0) throw Error(ErrorCode::internal, "a forward pass was not settled");
  SavedSequence saved{length_, {}, state()};
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    saved.layers.push_back(tables_[layer].save(layout_->sizes(layer)));
  }
  return saved;
}

void Sequence::restore(const SavedSequence& saved) {
  check_at_page("restored");
  if (length_ > saved.length) {
    throw Error(ErrorCode::internal, "a sequence holds more than what is restored");
  }
  SequenceState taken = saved.state;  // what may throw comes first
  std::vector<LayerPages> tables;
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    tables.push_back(
        tables_[layer].restored(*pool_, layout_->sizes(layer), saved.layers[layer], saved.length));
  }
  tables_ = std::move(tables);
  set_state(std::move(taken));
  length_ = saved.length;
}

std::size_t Sequence::restore_bytes(const SavedSequence& saved, int rows) const {
  std::size_t bytes = 0;
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    bytes += tables_[layer].restore_bytes(layout_->sizes(layer), saved.layers[layer], saved.length,
                                          saved.length + rows);
  }
  return bytes;
}

void Sequence::record(DeltaRule rule, std::vector<float> updates) {
  recurrence_recordings_[index_of(rule)].updates = std::move(updates);
}

void Sequence::record_whole(DeltaRule rule, std::vector<float> values) {
  recurrence_recordings_[index_of(rule)].values = std::move(values);
}

std::size_t Sequence::size_bytes() const {
  std::size_t bytes = bytes_of(recurrences_);
  for (const InputWindow& window : windows_) bytes += window.size_bytes();
  for (const LayerPages& table : tables_) bytes += table.size_bytes();
  return bytes;
}

}  // namespace quiver
