// What proposes tokens for the target model to verify.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/decode/decoder.hpp"

namespace quiver {

/// Proposes the tokens behind a text whose newest token is known and not fed yet. Nothing that it
/// proposes is trusted. [one-call-at-a-time]
class Drafter {
 public:
  virtual ~Drafter() = default;

  /// A pass of the target model itself, none of whose rows is kept, that drafts `count` tokens.
  /// Valid until draft().
  virtual const PassPlan& plan(const TextState& text, int count) = 0;

  /// Turns the pass's logits (used up) into at most `count` drafts.
  virtual void draft(const TextState& text, int count, std::span<float> logits,
                     std::vector<std::int32_t>& drafts) = 0;
};

/// Drafts with the model's own prediction of blocks: the newest token and masks, which see each
/// other inside a block of the grid. Each row's sampler draws the random numbers that verifying
/// will draw.
std::unique_ptr<Drafter> make_block_drafter(std::int32_t mask_token, int block_length,
                                            bool allows_mask);

}  // namespace quiver
