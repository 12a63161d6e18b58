// Decodes with drafts: several tokens a pass, each of them the one that plain decoding gives.
#pragma once

#include <memory>
#include <vector>

#include "core/decode/decode_statistics.hpp"
#include "core/decode/decoder.hpp"
#include "core/decode/draft_length.hpp"
#include "core/decode/drafter.hpp"

namespace quiver {

/// A drafted token is kept if and only if it is what the samplers choose at its place from the
/// target's own logits: samplers, filters and stop rules see exactly the tokens that plain decoding
/// shows them, one after another, and the random numbers of their places. Without a drafter this is
/// plain decoding.
class SpeculativeDecoder : public Decoder {
 public:
  /// `drafter` may be nullptr. `draft_tokens` as in DecodeOptions. `statistics` outlives it.
  /// `keeps_head_history`: the drafter is the model's draft head.
  SpeculativeDecoder(TextState& text, std::unique_ptr<Drafter> drafter, int draft_tokens,
                     DecodeStatistics& statistics, DecodeObserver* observer,
                     bool keeps_head_history = false);

  void begin(std::span<float> logits) override;
  const PassPlan& plan() const override { return *plan_; }
  bool keeps_head_history() const override { return keeps_head_history_; }

 protected:
  int take(const PassResult& result, int texts) override;

 private:
  void plan_round(int texts);
  void plan_next();
  int verify(std::span<float> logits, int texts);

  std::unique_ptr<Drafter> drafter_;
  bool keeps_head_history_;
  DraftLength length_;
  DecodeObserver* observer_;
  const PassPlan* plan_ = nullptr;
  PassPlan verification_;
  int asked_ = 1;                  // rows of this round that were asked for
  bool is_drafting_ = false;       // whether the pass under way drafts; otherwise it verifies
  std::vector<std::int32_t> fed_;  // the newest token, then the drafts
};

}  // namespace quiver
