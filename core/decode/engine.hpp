// Runs forward passes of a text model over the rows of any number of sequences.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <quiver/draft_head.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "core/cache/kv_plan.hpp"
#include "core/cache/sequence.hpp"
#include "core/decode/decode_statistics.hpp"
#include "core/decode/draft_vocabulary.hpp"
#include "core/decode/prompt_images.hpp"
#include "core/model/loaded_model.hpp"
#include "core/ops/forward_ops.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// Which rows of a feed produce logits.
enum class Wanted { none, last, all, listed };

/// What a pass runs.
enum class PassKind {
  model,       ///< The whole model.
  draft_head,  ///< Its draft head alone; no row of such a pass may be accepted.
};

/// Tokens for one sequence in a forward pass.
struct Feed {
  Sequence* sequence = nullptr;
  std::span<const std::int32_t> tokens;
  Wanted logits = Wanted::last;
  RowForm form = RowForm::prompt;
  Visibility visibility{};
  std::span<const int> listed{};  ///< With Wanted::listed: rows of this feed, ascending.
  PassKind kind = PassKind::model;
  /// Of a draft head's pass: the hidden states in front of all rows, or of all but the first, whose
  /// state is then that of the sequence's last token.
  std::span<const float> states{};
  const PromptImages* images = nullptr;  ///< Of the sequence's text, in each of its passes.
};

/// How many rows of a feed produce logits. [any-thread]
std::size_t wanted_rows(const Feed& feed) noexcept;

/// Logits of the wanted rows, feed by feed in order.
struct Logits {
  int rows = 0;
  int vocabulary = 0;
  std::vector<float> values;  ///< [rows, vocabulary]
  std::vector<float> hidden;  ///< Of a draft head's pass: [rows, hidden]; otherwise empty.

  std::span<const float> row(int index) const {
    const auto width = static_cast<std::size_t>(vocabulary);
    return std::span<const float>(values).subspan(static_cast<std::size_t>(index) * width, width);
  }
};

/// Sees intermediate tensors of a pass: a name such as "block.3" and values [rows, width].
using TensorObserver =
    std::function<void(std::string_view name, int rows, int width, std::span<const float> values)>;

/// A text model with KV strategies and threads. [one-call-at-a-time]; sequences belong to one
/// engine.
class Engine {
 public:
  /// Prompts are fed in chunks of this many tokens, at multiples of it counted from position 0, so
  /// that what a prompt leaves behind does not depend on how it arrived.
  static constexpr int kPromptGrid = 256;

  /// The same where rows see whole blocks: the largest multiple of the block length that is not
  /// longer, or the block length itself. [any-thread]
  static int prompt_grid(const Visibility& visibility) noexcept;

  /// `threads` outlives the engine. `cache_limit_bytes` bounds the pages of all sequences; 0 =
  /// none.
  Engine(std::shared_ptr<const LoadedModel> model, KvPlan kv, ThreadPool& threads,
         const ComputeOptions& compute, std::size_t cache_limit_bytes = 0);

  Sequence new_sequence() { return Sequence(pool_, layout_); }

  /// One that keeps what the model's draft head needs. Error(usage) where it has none.
  Sequence new_drafted_sequence();

  /// One pass over all feeds, which are of one kind; each sequence has its rows pending afterwards,
  /// to be settled with Sequence::accept. Throws Error(bad_input) for an id outside the vocabulary
  /// and Error(resources) where memory for the cache is short; the sequences are then as they were.
  Logits forward(std::span<const Feed> feeds, const TensorObserver& observer = {});

  /// Takes logits back whose memory the next pass may use: fresh memory from the system costs more
  /// than filling it.
  void reuse(Logits&& logits) { spare_logits_ = std::move(logits.values); }

  /// Feeds and settles tokens in chunks of the prompt grid; the logits are those of the last token
  /// (or, with Wanted::all, of every token). `progress` is called after each chunk with the tokens
  /// done; returning false ends early with Error(interrupted).
  Logits feed_prompt(Sequence& sequence, std::span<const std::int32_t> tokens,
                     Wanted wanted = Wanted::last,
                     const std::function<bool(std::size_t done)>& progress = {},
                     const Visibility& visibility = {}, const PromptImages* images = nullptr);

  /// What stands for a picture in a text: `patches` [rows, values] in the order of ImageEncoder,
  /// `grid_rows` by `grid_columns` of them -> [rows / merge^2, hidden]. Throws Error(usage) where
  /// the model does not look at pictures.
  std::vector<float> encode_image(std::span<const float> patches, int grid_rows, int grid_columns);

  const LoadedModel& model() const noexcept { return *model_; }
  const TextModelInfo& info() const noexcept { return info_; }
  const CacheLayout& layout() const noexcept { return layout_; }
  PagePool& pool() noexcept { return pool_; }

  /// What decoding with this engine has measured so far. Texts that follow one another, or run side
  /// by side, learn from each other.
  DecodeStatistics& statistics() noexcept { return statistics_; }

 private:
  Batch make_batch(std::span<const Feed> feeds) const;
  Logits run_model(std::span<const Feed> feeds, const Batch& batch, const TensorObserver& observer);
  Logits run_draft_head(std::span<const Feed> feeds, const Batch& batch);
  Logits logits_of(ForwardOps& ops, Tensor hidden, std::span<const int> rows);
  void spread(Logits& logits) const;
  void remember(ForwardOps& ops, const Batch& batch, Tensor hidden) const;

  std::shared_ptr<const LoadedModel> model_;
  KvPlan kv_;
  ThreadPool& threads_;
  ComputeOptions compute_;
  std::optional<DraftVocabulary> draft_vocabulary_;
  std::unique_ptr<PackedModel> packed_;  // fast mode only
  TextModelInfo info_;
  CacheLayout layout_;
  const DraftHead* draft_head_;  // nullptr where the model has none
  CacheLayout drafted_layout_;
  PagePool pool_;
  ForwardMemory memory_;
  DecodeStatistics statistics_;
  std::vector<float> spare_logits_;
};

/// Throws Error(bad_input) for a token id outside [0, vocabulary). [any-thread]
void check_token_ids(std::span<const std::int32_t> tokens, int vocabulary);

/// What a sequence of the model keeps; with `hidden`, the width of the model's hidden states, also
/// what its draft head needs. Layers whose newest tokens would take no more room stored than fresh
/// are stored at once. [any-thread]
CacheLayout cache_layout(const WeightStore& weights, const KvPlan& kv, int hidden = 0);

}  // namespace quiver
