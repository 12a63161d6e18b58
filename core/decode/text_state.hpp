// One text while it is generated: how its tokens are chosen, and everything that can end it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <quiver/text_model.hpp>
#include <span>
#include <vector>

#include "core/decode/sampler_chain.hpp"

namespace quiver {

enum class FinishReason { stop, length, interrupted };

/// "stop", "length" or "interrupted".
const char* finish_reason_name(FinishReason reason);

/// Rules out tokens before the samplers see them, e.g. by a grammar. One per text.
/// [one-call-at-a-time]
class TokenFilter {
 public:
  virtual ~TokenFilter() = default;
  /// Sets the logits of tokens that may not come next to -infinity.
  virtual void apply(std::span<float> logits) = 0;
  /// Moves on by the chosen token.
  virtual void accept(std::int32_t token) = 0;
  /// Whether the text is complete, so that nothing may follow.
  virtual bool is_finished() const = 0;

  // What drafting needs; a filter that lacks it judges verified tokens only.

  /// Whether accepted tokens can be taken back.
  virtual bool can_roll_back() const { return false; }
  /// Takes back the newest `tokens` accepted ones.
  virtual void roll_back(std::size_t tokens) { static_cast<void>(tokens); }
  /// Whether a token may come next. Asked only where tokens can be taken back.
  virtual bool allows(std::int32_t token) {
    static_cast<void>(token);
    return true;
  }
};

/// How the tokens of one text are chosen and what ends it.
struct TextRules {
  int max_tokens = 256;
  std::vector<std::int32_t> end_ids;  ///< Ids that end the text; the one met is kept in the ids.
  std::uint64_t seed = 0;
  const Vocabulary* vocabulary = nullptr;  ///< For samplers that look at texts; outlives the text.
  TokenFilter* filter = nullptr;           ///< Of this text alone; outlives it.
  /// Called with each new token; returning false ends the text there (stop strings).
  std::function<bool(std::int32_t token)> on_token;
};

/// Tokens of one text with the state of its samplers; knows nothing of caches or passes. What it
/// chooses depends on the logits handed over alone. [one-call-at-a-time]
class TextState {
 public:
  /// `history`: all tokens so far as samplers see them. `context_length`: how many there may be in
  /// all before the text is full; 0 = no limit. `samplers` and `rules` outlive the object.
  TextState(const SamplerChain& samplers, const TextRules& rules, std::vector<std::int32_t> history,
            std::size_t context_length);

  /// Chooses the next token from `logits` (used up) and tells the filter and on_token. Must not be
  /// finished. Throws what samplers, filter and on_token throw; the text cannot go on then.
  void choose(std::span<float> logits);

  /// What the samplers would choose as token `index` of the text, at or behind its end, knowing
  /// only its first `known` tokens; for drafts and canvases. `logits` are used up; the filter is
  /// not asked. Throws what samplers throw.
  Proposal propose(std::span<float> logits, std::size_t index, std::size_t known) const;

  /// The token of propose() alone.
  std::int32_t guess(std::span<float> logits, std::size_t index, std::size_t known) const;

  /// What the samplers would choose behind `history`, which is that of the text with some drafts
  /// behind it. Otherwise as above.
  std::int32_t guess(std::span<float> logits, std::span<const std::int32_t> history) const;

  /// Appends a token that was found in another way than by choose(), and tells on_token. Must not
  /// be finished.
  void append(std::int32_t token);

  /// How many tokens may still be generated: the rest of max_tokens, or of the context.
  std::size_t remaining() const noexcept;

  /// How many tokens more the context can hold, one that is never fed included.
  std::size_t room() const noexcept;

  /// Ends a text whose last token did not end it for a reason of its own. For interrupts.
  void interrupt() noexcept;

  bool is_finished() const noexcept { return is_finished_; }

  /// Why the text is finished.
  FinishReason reason() const noexcept { return reason_; }

  const TextRules& rules() const noexcept { return *rules_; }

  /// Given and generated tokens.
  std::span<const std::int32_t> history() const noexcept { return history_; }

  /// Given tokens.
  std::span<const std::int32_t> given() const noexcept { return history().first(given_); }

  /// Generated tokens.
  std::span<const std::int32_t> generated() const noexcept { return history().subspan(given_); }

 private:
  const SamplerChain* samplers_;
  const TextRules* rules_;
  std::vector<std::int32_t> history_;
  std::size_t given_;
  std::size_t context_length_;
  SamplerState sampler_state_;
  bool is_finished_ = false;
  FinishReason reason_ = FinishReason::length;
};

/// Checks a prompt that is fed behind `held` tokens: throws Error(usage) where it is empty,
/// Error(bad_input) for an id outside the vocabulary or more tokens than the context has room for.
/// [any-thread]
void check_prompt(const TextModelInfo& info, std::size_t held,
                  std::span<const std::int32_t> prompt);

}  // namespace quiver
