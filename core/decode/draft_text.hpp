// A text with the tokens that are drafted behind it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/decode/text_state.hpp"

namespace quiver {

/// Chooses drafts as the text would choose its tokens: by its samplers and penalties over what is
/// drafted so far, with the random numbers of their places, and through its filter where that can
/// be taken back. Samplers that keep a state take the one of the text's end. Leaves the text as it
/// was. [one-call-at-a-time]
class DraftText {
 public:
  /// The text outlives the object and does not change while it lives.
  explicit DraftText(const TextState& text);
  ~DraftText();
  DraftText(const DraftText&) = delete;
  DraftText& operator=(const DraftText&) = delete;

  /// Drafts the next token from `logits`, which are used up. Throws what samplers and filter throw.
  void choose(std::span<float> logits);

  /// Drafts a token that was found in another way; false, and nothing changes, where the filter
  /// rules it out.
  bool append(std::int32_t token);

  /// Whether nothing can follow what is drafted.
  bool is_finished() const noexcept { return is_finished_; }

  std::span<const std::int32_t> drafts() const noexcept {
    return std::span(history_).subspan(known_);
  }

  /// The text's tokens, then the drafts.
  std::span<const std::int32_t> history() const noexcept { return history_; }

 private:
  void add(std::int32_t token);

  const TextState* text_;
  TokenFilter* filter_ = nullptr;  ///< nullptr where drafts are made without it.
  std::vector<std::int32_t> history_;
  std::size_t known_;
  bool is_finished_ = false;
};

}  // namespace quiver
