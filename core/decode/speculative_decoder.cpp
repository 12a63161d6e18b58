// Decodes with drafts: several tokens a pass, each of them the one that plain decoding gives.
#include "core/decode/speculative_decoder.hpp"

#include <algorithm>
#include <utility>

namespace quiver {

SpeculativeDecoder::SpeculativeDecoder(TextState& text, std::unique_ptr<Drafter> drafter,
                                       int draft_tokens, DecodeStatistics& statistics,
                                       DecodeObserver* observer)
    : Decoder(text),
      drafter_(std::move(drafter)),
      length_(statistics, drafter_ ? draft_tokens : 1),
      observer_(observer) {}

void SpeculativeDecoder::begin(std::span<float> logits) {
  if (text_->is_finished()) return;
  text_->choose(logits);
  if (!text_->is_finished()) plan_round(1);
}

void SpeculativeDecoder::plan_round(int texts) {
  drafts_.clear();
  // Each row of a verification gives one token.
  const auto most = std::min<std::size_t>(text_->remaining(), PassCosts::kMaxRows);
  const int rows = length_.choose(static_cast<int>(most), texts);
  drafting_ = rows - 1;
  if (drafting_ == 0) {
    plan_verification();
  } else {
    plan_ = &drafter_->plan(*text_, drafting_);
  }
}

void SpeculativeDecoder::plan_verification() {
  drafting_ = 0;
  fed_.assign(1, text_->history().back());
  fed_.insert(fed_.end(), drafts_.begin(), drafts_.end());
  verification_.tokens = fed_;
  verification_.logits = Wanted::all;
  plan_ = &verification_;
}

int SpeculativeDecoder::take(std::span<float> logits, int texts) {
  if (drafting_ == 0) return verify(logits, texts);
  drafter_->draft(*text_, drafting_, logits, drafts_);
  plan_verification();
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
  if (!drafts_.empty()) {
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
