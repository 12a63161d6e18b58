// A text with the tokens that are drafted behind it.
#include "core/decode/draft_text.hpp"

#include <algorithm>
#include <cmath>

namespace quiver {

DraftText::DraftText(const TextState& text)
    : text_(&text),
      history_(text.history().begin(), text.history().end()),
      known_(history_.size()) {
  TokenFilter* filter = text.rules().filter;
  if (filter != nullptr && filter->can_roll_back()) filter_ = filter;
}

DraftText::~DraftText() {
  if (filter_ != nullptr) filter_->roll_back(drafts().size());
}

void DraftText::add(std::int32_t token) {
  history_.push_back(token);
  if (filter_ != nullptr) filter_->accept(token);
  const auto& ends = text_->rules().end_ids;
  is_finished_ = std::ranges::find(ends, token) != ends.end() ||
                 (filter_ != nullptr && filter_->is_finished());
}

void DraftText::choose(std::span<float> logits) {
  if (filter_ != nullptr) filter_->apply(logits);
  add(text_->guess(logits, history_));
}

bool DraftText::append(std::int32_t token) {
  if (is_finished_) return false;
  if (filter_ != nullptr && !filter_->allows(token)) return false;
  add(token);
  return true;
}

}  // namespace quiver
