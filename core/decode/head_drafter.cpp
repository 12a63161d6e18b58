// Drafts with the model's draft head, one token a pass.
#include "core/decode/drafter.hpp"

namespace quiver {
namespace {

class HeadDrafter : public Drafter {
 public:
  explicit HeadDrafter(bool has_history) : has_history_(has_history) {
    plan_.kind = PassKind::draft_head;
    plan_.form = RowForm::draft;
    if (!has_history) plan_.visibility = {VisibilityKind::alone, 0};
  }

  void begin(const TextState& text, int count) override {
    draft_.emplace(text);
    count_ = static_cast<std::size_t>(count);
    states_.clear();
  }

  const PassPlan* plan() override {
    if (draft_->is_finished() || draft_->drafts().size() == count_) return nullptr;
    // The newest token and the drafts so far. None of a pass's rows stays, so a head with a history
    // computes the earlier ones again: reading its weights costs more than some more rows.
    const std::size_t rows = has_history_ ? 1 + draft_->drafts().size() : 1;
    plan_.tokens = draft_->history().last(rows);
    plan_.states = states_;
    return &plan_;
  }

  void take(const PassResult& result) override {
    draft_->choose(result.logits);
    if (!has_history_) states_.clear();
    states_.insert(states_.end(), result.hidden.begin(), result.hidden.end());
  }

  std::span<const std::int32_t> drafts() const override { return draft_->drafts(); }
  void finish() override { draft_.reset(); }

  double seconds(const DecodeStatistics& statistics, int count, int texts) const override {
    double sum = 0;
    for (int i = 1; i <= count; ++i) {
      sum += statistics.head_costs.seconds(true, (has_history_ ? i : 1) * texts);
    }
    return sum;
  }

  AcceptanceRates& rates(DecodeStatistics& statistics) const override {
    return statistics.head_drafts;
  }
  int most_drafts() const override { return kMostHeadDrafts; }
  int trial_drafts() const override { return 1; }

 private:
  bool has_history_;
  PassPlan plan_;
  std::optional<DraftText> draft_;
  std::size_t count_ = 0;
  std::vector<float> states_;  // behind each row so far; without history of the last alone
};

}  // namespace

std::unique_ptr<Drafter> make_head_drafter(bool has_history) {
  return std::make_unique<HeadDrafter>(has_history);
}

}  // namespace quiver
