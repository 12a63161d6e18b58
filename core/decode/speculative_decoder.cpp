// Decodes with drafts: several tokens a pass, each of them the one that plain decoding gives.
#include "core/decode/speculative_decoder.hpp"

#include <algorithm>
#include <utility>

namespace quiver {

SpeculativeDecoder::SpeculativeDecoder(TextState& text, std::unique_ptr<Drafter> drafter,
                                       int draft_tokens, DecodeStatistics& statistics,
                                       DecodeObserver* observer, bool keeps_head_history)
    : Decoder(text),
      drafter_(std::move(drafter)),
      keeps_head_history_(keeps_head_history),
      length_(statistics, drafter_.get(), draft_tokens),
      observer_(observer) {}

void SpeculativeDecoder::begin(std::span<float> logits) {
  if (text_->is_finished()) return;
  text_->choose(logits);
  if (!text_->is_finished()) plan_round(1);
}

void SpeculativeDecoder::plan_round(int texts) {
  // Each row of a verification gives one token.
  const auto most = std::min<std::size_t>(text_->remaining(), PassCosts::kMaxRows);
  asked_ = length_.choose(static_cast<int>(most), texts);
  if (asked_ > 1) drafter_->begin(*text_, asked_ - 1);
  plan_next();
}

/// Plans the next pass that drafting takes, or the verification.
void SpeculativeDecoder::plan_next() {
  plan_ = asked_ > 1 ? drafter_->plan() : nullptr;
  is_drafting_ = plan_ != nullptr;
  if (is_drafting_) return;
  fed_.assign(1, text_->history().back());
  if (asked_ > 1) {
    const auto drafts = drafter_->drafts();
    fed_.insert(fed_.end(), drafts.begin(), drafts.end());
    drafter_->finish();
  }
  verification_.tokens = fed_;
  verification_.logits = Wanted::all;
  plan_ = &verification_;
}

int SpeculativeDecoder::take(const PassResult& result, int texts) {
  if (!is_drafting_) return verify(result.logits, texts);
  drafter_->take(result);
  plan_next();
  return 0;
}

int SpeculativeDecoder::verify(std::span<float> logits, int texts) {
  const std::size_t width = logits.size() / fed_.size();
  const std::size_t start = text_->history().size();
  std::size_t rows = 0;
  bool goes_on = true;
  while (goes_on) {
    text_->choose(logits.subspan(rows * width, width));
    ++rows;
    // The next row's logits are those of the text only if its token was guessed.
    goes_on = !text_->is_finished() && rows < fed_.size() && text_->history().back() == fed_[rows];
  }
  if (fed_.size() > 1) {
    ++counts_.rounds;
    counts_.accepted += static_cast<int>(rows);
    if (observer_ != nullptr) {
      observer_->on_round({start - 1, fed_, text_->history().subspan(start)});
    }
  }
  length_.learn(static_cast<int>(fed_.size()), static_cast<int>(rows), text_->is_finished());
  if (!text_->is_finished()) plan_round(texts);
  return static_cast<int>(rows);
}

}  // namespace quiver
