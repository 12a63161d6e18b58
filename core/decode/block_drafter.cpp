// Drafts with the model's own prediction of blocks.
#include <limits>

#include "core/decode/drafter.hpp"

namespace quiver {
namespace {

constexpr int kMostDrafts = 15;
// Enough to see what drafts are worth, and not much time lost.
constexpr int kTrialDrafts = 2;

class BlockDrafter : public Drafter {
 public:
  BlockDrafter(std::int32_t mask_token, int block_length, bool allows_mask)
      : mask_token_(mask_token), allows_mask_(allows_mask) {
    plan_.form = RowForm::draft;
    plan_.logits = Wanted::listed;
    plan_.visibility = {VisibilityKind::block_causal, block_length};
  }

  void begin(const TextState& text, int count) override {
    text_ = &text;
    drafts_.clear();
    const auto masks = static_cast<std::size_t>(count);
    tokens_.assign(1 + masks, mask_token_);
    tokens_[0] = text.history().back();
    rows_.clear();
    for (int row = 1; row <= count; ++row) rows_.push_back(row);
    plan_.tokens = tokens_;
    plan_.listed = rows_;
  }

  const PassPlan* plan() override { return drafts_.empty() ? &plan_ : nullptr; }

  void take(const PassResult& result) override {
    const std::size_t width = result.logits.size() / rows_.size();
    const std::size_t length = text_->history().size();
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      const auto values = result.logits.subspan(row * width, width);
      if (!allows_mask_) {
        values[static_cast<std::size_t>(mask_token_)] = -std::numeric_limits<float>::infinity();
      }
      // As the authors of such models do, the newest token does not count as seen yet.
      drafts_.push_back(text_->guess(values, length + row, length - 1));
    }
  }

  std::span<const std::int32_t> drafts() const override { return drafts_; }

  double seconds(const DecodeStatistics& statistics, int count, int texts) const override {
    return statistics.costs.seconds(true, (1 + count) * texts);
  }
  AcceptanceRates& rates(DecodeStatistics& statistics) const override {
    return statistics.block_drafts;
  }
  int most_drafts() const override { return kMostDrafts; }
  int trial_drafts() const override { return kTrialDrafts; }

 private:
  std::int32_t mask_token_;
  bool allows_mask_;
  PassPlan plan_;
  std::vector<std::int32_t> tokens_;
  std::vector<int> rows_;
  const TextState* text_ = nullptr;
  std::vector<std::int32_t> drafts_;
};

}  // namespace

std::unique_ptr<Drafter> make_block_drafter(std::int32_t mask_token, int block_length,
                                            bool allows_mask) {
  return std::make_unique<BlockDrafter>(mask_token, block_length, allows_mask);
}

}  // namespace quiver
