// Drafts with the model's own prediction of blocks.
#include <limits>

#include "core/decode/drafter.hpp"

namespace quiver {
namespace {

class BlockDrafter : public Drafter {
 public:
  BlockDrafter(std::int32_t mask_token, int block_length, bool allows_mask)
      : mask_token_(mask_token), allows_mask_(allows_mask) {
    plan_.form = RowForm::draft;
    plan_.logits = Wanted::listed;
    plan_.visibility = {VisibilityKind::block_causal, block_length};
  }

  const PassPlan& plan(const TextState& text, int count) override {
    const auto masks = static_cast<std::size_t>(count);
    tokens_.assign(1 + masks, mask_token_);
    tokens_[0] = text.history().back();
    rows_.clear();
    for (int row = 1; row <= count; ++row) rows_.push_back(row);
    plan_.tokens = tokens_;
    plan_.listed = rows_;
    return plan_;
  }

  void draft(const TextState& text, int count, std::span<float> logits,
             std::vector<std::int32_t>& drafts) override {
    const std::size_t width = logits.size() / static_cast<std::size_t>(count);
    const std::size_t length = text.history().size();
    drafts.clear();
    for (std::size_t row = 0; row < static_cast<std::size_t>(count); ++row) {
      const auto values = logits.subspan(row * width, width);
      if (!allows_mask_) {
        values[static_cast<std::size_t>(mask_token_)] = -std::numeric_limits<float>::infinity();
      }
      // As the authors of such models do, the newest token does not count as seen yet.
      drafts.push_back(text.guess(values, length + row, length - 1));
    }
  }

 private:
  std::int32_t mask_token_;
  bool allows_mask_;
  PassPlan plan_;
  std::vector<std::int32_t> tokens_;
  std::vector<int> rows_;
};

}  // namespace

std::unique_ptr<Drafter> make_block_drafter(std::int32_t mask_token, int block_length,
                                            bool allows_mask) {
  return std::make_unique<BlockDrafter>(mask_token, block_length, allows_mask);
}

}  // namespace quiver
