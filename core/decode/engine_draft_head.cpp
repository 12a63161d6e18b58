// Passes of a model's draft head, and what it remembers of the model's own.
#include <algorithm>
#include <limits>
#include <quiver/error.hpp>

#include "core/decode/engine.hpp"

namespace quiver {

/// Lets the head remember the pass's rows, each with the hidden state in front of it.
void Engine::remember(ForwardOps& ops, const Batch& batch, Tensor hidden) const {
  const std::span<const float> states = ops.values(hidden);
  const auto width = static_cast<std::size_t>(hidden.width);
  // Rows of sequences that keep nothing for the head are computed and forgotten.
  std::vector<float> before(states.size(), 0.0F);
  for (const Segment& segment : batch.segments) {
    if (!segment.sequence->layout().keeps_hidden) continue;
    const auto own = states.subspan(static_cast<std::size_t>(segment.first_row) * width,
                                    static_cast<std::size_t>(segment.rows) * width);
    const auto target = before.begin() + (own.data() - states.data());
    std::ranges::copy(segment.sequence->hidden_state(), target);
    std::ranges::copy(own.first(own.size() - width), target + static_cast<std::ptrdiff_t>(width));
    segment.sequence->record_hidden(own);
  }
  draft_head_->remember(ops, ops.adopt(before, hidden.width));
}

Logits Engine::run_draft_head(std::span<const Feed> feeds, const Batch& batch) {
  const auto width = static_cast<std::size_t>(info_.hidden);
  std::vector<float> states;
  std::vector<int> last_rows;
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    const Feed& feed = feeds[i];
    if (draft_head_ == nullptr || !feed.sequence->layout().keeps_hidden) {
      throw Error(ErrorCode::internal, "a draft head's pass over a sequence that keeps none");
    }
    if (feed.states.size() == (feed.tokens.size() - 1) * width) {
      const auto first = feed.sequence->hidden_state();
      states.insert(states.end(), first.begin(), first.end());
    } else if (feed.states.size() != feed.tokens.size() * width) {
      throw Error(ErrorCode::internal, "a draft head's pass without a state for each row");
    }
    states.insert(states.end(), feed.states.begin(), feed.states.end());
    const Segment& segment = batch.segments[i];
    last_rows.push_back(segment.first_row + segment.rows - 1);
  }
  ForwardOps ops(model_->weights(), kv_, batch, memory_, {threads_, compute_, packed_.get()});
  const Tensor hidden = draft_head_->draft(ops, ops.adopt(states, info_.hidden));
  const std::span<const float> values = ops.values(hidden);
  std::vector<float> last;
  for (const int row : last_rows) {
    const auto own = values.subspan(static_cast<std::size_t>(row) * width, width);
    last.insert(last.end(), own.begin(), own.end());
  }
  if (draft_vocabulary_) ops.shorten(draft_vocabulary_->whole(), draft_vocabulary_->part());
  Logits logits = logits_of(ops, hidden, last_rows);
  if (draft_vocabulary_) spread(logits);
  logits.hidden = std::move(last);
  return logits;
}

/// Gives tokens their logits by id; those that are never drafted cannot be chosen.
void Engine::spread(Logits& logits) const {
  const std::span<const std::int32_t> ids = draft_vocabulary_->ids();
  const auto width = static_cast<std::size_t>(info_.vocabulary);
  std::vector<float> all(static_cast<std::size_t>(logits.rows) * width,
                         -std::numeric_limits<float>::infinity());
  for (std::size_t row = 0; row < static_cast<std::size_t>(logits.rows); ++row) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      all[row * width + static_cast<std::size_t>(ids[i])] = logits.values[row * ids.size() + i];
    }
  }
  logits.values = std::move(all);
}

}  // namespace quiver
