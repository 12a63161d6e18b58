// One text being processed: its pages, its state slots, and what of them is settled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <quiver/handles.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/recurrence.hpp>
#include <span>
#include <vector>

#include "core/cache/input_window.hpp"
#include "core/cache/layer_pages.hpp"
#include "core/cache/page_pool.hpp"

namespace quiver {

/// Sizes of everything a sequence keeps, one set per model and KV strategy.
struct CacheLayout {
  struct KvLayer {
    KvShape shape;
    std::size_t page_bytes = 0;   ///< 0 = the sequence does not keep the layer.
    int window = 0;               ///< 0 = all tokens.
    std::size_t fresh_bytes = 0;  ///< Of a page of newest tokens; 0 = stored like all others.
  };
  struct Window {
    int rows = 0;  ///< Past inputs a convolution needs: kernel - 1.
    int channels = 0;
  };
  struct Recurrence {
    std::size_t state_size = 0;   ///< Values of the state.
    std::size_t update_size = 0;  ///< Values of what one row changes it by.
  };
  std::vector<KvLayer> kv_layers;       ///< By KvCache::id.
  std::vector<Window> windows;          ///< By CausalConv::id.
  std::vector<Recurrence> recurrences;  ///< By DeltaRule::id.
  /// The final hidden state of the last token, for a draft head, is one more window of one row
  /// behind those of the convolutions; or the sequence keeps none.
  bool keeps_hidden = false;
  int recent = 0;  ///< See KvPlan.

  PageSizes sizes(std::size_t layer) const {
    return {kv_layers[layer].page_bytes, kv_layers[layer].fresh_bytes, recent};
  }
};

/// Bytes of the pages that `tokens` tokens need, all layers together, while no pass is under way.
/// [any-thread]
std::size_t page_bytes(const CacheLayout& layout, int tokens);

/// A recurrence's state and the updates of settled rows that are not in it yet. States are large
/// and updates small: a pass leaves updates behind, and the next one that reads the state folds
/// those in that were accepted.
struct RecurrentState {
  std::vector<float> values;   ///< Empty = zeros: nothing has been folded in yet.
  std::vector<float> updates;  ///< Of rows in order, each of Recurrence::update_size values.
};

/// What a sequence holds beside its pages: with the pages of the same tokens, enough to go on.
struct SequenceState {
  std::vector<std::vector<float>> windows;  ///< By CausalConv::id: [rows, channels].
  std::vector<RecurrentState> recurrences;  ///< By DeltaRule::id.

  std::size_t size_bytes() const noexcept;
};

/// Whole pages at the end of a sequence, shared with it, and the state behind their last token.
struct SequencePart {
  int tokens = 0;                             ///< A multiple of the page size.
  std::vector<std::vector<PageForms>> pages;  ///< [layer][page]
  SequenceState state;

  /// Bytes of the pages that nobody else holds.
  std::size_t unshared_bytes() const noexcept;
};

/// A sequence in ordinary memory, its pages given back.
struct SavedSequence {
  int length = 0;
  std::vector<SavedPages> layers;  ///< By KvCache::id.
  SequenceState state;
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

  const CacheLayout& layout() const noexcept { return *layout_; }

  /// Settled tokens.
  int length() const noexcept { return length_; }

  /// Rows of the forward pass that is under way or awaits accept().
  int pending() const noexcept { return pending_; }

  /// Starts a forward pass over `rows` more tokens: makes room in every layer. Throws
  /// Error(resources), leaving the sequence as it was.
  void begin(int rows);

  /// Ends the pass: the first `rows` of the pending ones are settled, the others forgotten. Rows
  /// of a prompt, in a model that keeps windows or states, are accepted all or none:
  /// Error(internal) otherwise.
  void accept(int rows);

  /// Whether the tokens from `length` on can be forgotten: all of them always, otherwise where no
  /// window would have to go back, and no stored page to what it was made from.
  bool can_truncate(int length) const noexcept;

  /// Forgets all tokens from `length` on; Error(internal) where that is not possible.
  void truncate(int length);

  /// Bytes that begin(rows) would take from the pool.
  std::size_t growth_bytes(int rows) const;

  /// Everything from token `start` on, sharing its pages. Start and length must be multiples of the
  /// page size and no pass may be pending; otherwise Error(internal).
  SequencePart part(int start) const;

  /// Appends parts, one after another as they followed in the sequence that they come from; shares
  /// their pages and takes the state of the last. The length must be a multiple of the page size.
  void extend(std::span<const SequencePart* const> parts);

  /// Puts pages into `part`, of the tokens from `start` on, that it was made without and that are
  /// stored by now.
  void complete(SequencePart& part, int start) const;

  /// Bytes of the pages of a part of `tokens` tokens with all that complete() can add.
  std::size_t part_bytes(int tokens) const;

  /// A copy of everything in ordinary memory. No pass may be pending.
  SavedSequence save() const;

  /// Becomes what was saved, bit for bit. The sequence may hold the first tokens of it already, as
  /// whole pages; only what follows them is copied. Throws Error(resources), leaving the sequence
  /// as it was.
  void restore(const SavedSequence& saved);

  /// Bytes that restore() takes from the pool, and begin(rows) after it.
  std::size_t restore_bytes(const SavedSequence& saved, int rows) const;

  /// The pages of a layer. Tokens are written to LayerPages::writable.
  const LayerPages& pages(KvCache layer) const { return tables_[index_of(layer)]; }
  std::byte* writable_page(KvCache layer, int index) {
    return tables_[index_of(layer)].writable(*pool_, index);
  }
  /// Says that the first `pages` pages of a layer are stored.
  void set_stored(KvCache layer, int pages) { tables_[index_of(layer)].set_stored(pages); }

  /// Past inputs of a convolution before this pass; zeros before the start of the sequence.
  const InputWindow& window(CausalConv conv) const { return windows_[index_of(conv)]; }

  /// The final hidden state of the last settled token; zeros at the start. Where the layout keeps
  /// it.
  std::span<const float> hidden_state() const { return window(hidden_slot()).row(0); }

  /// Records the final hidden states [pending, hidden] of this pass's rows.
  void record_hidden(std::span<const float> states, bool is_whole) {
    record(hidden_slot(), states, is_whole);
  }

  /// Records this pass's inputs [pending, channels] of a convolution, so that accept() can move its
  /// window to any of them; where the pass `is_whole`, only the last are kept, and it is accepted
  /// as a whole or not at all.
  void record(CausalConv conv, std::span<const float> inputs, bool is_whole) {
    windows_[index_of(conv)].record(inputs, is_whole);
  }

  /// The state of a recurrence with the updates that the pass has to fold in before it reads it.
  /// Folding, which clears them, changes nothing of what is settled; tentative rows leave `values`
  /// alone.
  RecurrentState& recurrence(DeltaRule rule) { return recurrences_[index_of(rule)]; }

  /// Records what this pass's rows change the state by [pending, update_size], so that accept() can
  /// keep any of them.
  void record(DeltaRule rule, std::vector<float> updates);

  /// Records the state behind this pass's last row, where the rows were computed together: such a
  /// pass is accepted as a whole or not at all.
  void record_whole(DeltaRule rule, std::vector<float> values);

  /// Bytes of pages and state that this sequence holds (shared pages counted in full).
  std::size_t size_bytes() const;

 private:
  static std::size_t index_of(KvCache layer) { return static_cast<std::size_t>(layer.id); }
  static std::size_t index_of(CausalConv conv) { return static_cast<std::size_t>(conv.id); }
  static std::size_t index_of(DeltaRule rule) { return static_cast<std::size_t>(rule.id); }
  CausalConv hidden_slot() const {
    return {static_cast<std::int32_t>(layout_->windows.size()) - 1};
  }
  void accept_recurrences(int rows);
  void cut_pages();
  void check_at_page(const char* action) const;
  SequenceState state() const;
  void set_state(SequenceState state) noexcept;

  PagePool* pool_;
  const CacheLayout* layout_;
  int length_ = 0;
  int pending_ = 0;
  std::vector<LayerPages> tables_;           // [layer]
  std::vector<InputWindow> windows_;         // [conv]
  std::vector<RecurrentState> recurrences_;  // [rule]
  /// What the pass under way has recorded; `values` where its rows were computed together.
  std::vector<RecurrentState> recurrence_recordings_;  // [rule]
};

}  // namespace quiver
