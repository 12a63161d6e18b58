// What proposes tokens for the target model to verify.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/decode/decoder.hpp"
#include "core/decode/draft_text.hpp"

namespace quiver {

/// Proposes the tokens behind a text whose newest token is known and not fed yet. It may ask for
/// passes, none of whose rows is kept. Nothing that it proposes is trusted. [one-call-at-a-time]
class Drafter {
 public:
  virtual ~Drafter() = default;

  /// Begins to draft `count` tokens behind `text`, which outlives the round.
  virtual void begin(const TextState& text, int count) = 0;

  /// The next pass that drafting takes, valid until take(); nullptr where the drafts are ready.
  virtual const PassPlan* plan() = 0;

  /// Takes what the planned pass gave, used up.
  virtual void take(const PassResult& result) = 0;

  /// The drafts of the round, `count` at most; maybe none.
  virtual std::span<const std::int32_t> drafts() const = 0;

  /// Ends the round: lets go of what it holds of the text, which goes on now.
  virtual void finish() {}

  /// Seconds that drafting `count` tokens takes where so many texts share each pass; 0 where
  /// nothing was measured.
  virtual double seconds(const DecodeStatistics& statistics, int count, int texts) const = 0;

  /// How its drafts have come true so far.
  virtual AcceptanceRates& rates(DecodeStatistics& statistics) const = 0;

  /// The most drafts that are worth trying, and how many a trial has.
  virtual int most_drafts() const = 0;
  virtual int trial_drafts() const = 0;
};

/// Drafts with the model's own prediction of blocks: the newest token and masks, which see each
/// other inside a block of the grid. Each row's sampler draws the random numbers that verifying
/// will draw.
std::unique_ptr<Drafter> make_block_drafter(std::int32_t mask_token, int block_length,
                                            bool allows_mask);

/// A head is trained to look one or two tokens ahead; what it says of later ones is worth less and
/// less.
inline constexpr int kMostHeadDrafts = 4;

/// Drafts with the model's draft head, one token a pass. With history the head sees what it saw of
/// the text before; without, each of its rows is alone.
std::unique_ptr<Drafter> make_head_drafter(bool has_history);

/// Drafts what followed the text's newest tokens where they stood before.
std::unique_ptr<Drafter> make_ngram_drafter();

}  // namespace quiver
