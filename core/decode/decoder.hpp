// How one text goes on from pass to pass behind its prompt.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/decode/decode_options.hpp"
#include "core/decode/engine.hpp"
#include "core/decode/text_state.hpp"

namespace quiver {

/// The rows that a text wants in the next pass, at the end of its sequence; see Feed.
struct PassPlan {
  std::span<const std::int32_t> tokens;
  Wanted logits = Wanted::last;
  RowForm form = RowForm::decode;
  Visibility visibility{};
  std::span<const int> listed{};
  PassKind kind = PassKind::model;
  std::span<const float> states{};

  Feed feed(Sequence* sequence, const PromptImages* images = nullptr) const {
    return {sequence, tokens, logits, form, visibility, listed, kind, states, images};
  }
};

/// What a pass gave for one text.
struct PassResult {
  std::span<float> logits;        ///< Of the wanted rows, used up.
  std::span<const float> hidden;  ///< Of a draft head's pass: the state behind its last row.
};

/// Asks for passes and turns their logits into tokens of its text. Where the text is not finished
/// plan() says what to run; settle() takes the logits and says how many of the rows stay in the
/// sequence. Between the two nothing else happens to the sequence's tokens, and what a decoder
/// chooses depends on nothing but its text's logits (and on times, where lengths adapt and do not
/// change tokens). [one-call-at-a-time]
class Decoder {
 public:
  explicit Decoder(TextState& text) : text_(&text) {}
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// The rule under which the prompt is fed.
  virtual Visibility prompt_visibility() const { return {}; }

  /// Whether the sequence keeps what a draft head needs.
  virtual bool keeps_head_history() const { return false; }

  /// Whether begin() needs the logits behind the prompt.
  virtual bool wants_prompt_logits() const { return true; }

  /// Called once, when the prompt is in the sequence; `logits` of its last token, used up, or none.
  virtual void begin(std::span<float> logits) = 0;

  /// Valid until settle().
  virtual const PassPlan& plan() const = 0;

  /// Takes what the planned rows gave. `texts` counts those that were decoded in the
  /// pass, this one included. Returns how many of the rows the sequence keeps. Throws what choosing
  /// throws; the text cannot go on then.
  int settle(const PassResult& result, int texts) {
    ++counts_.passes;
    return take(result, texts);
  }

  const DecodeCounts& counts() const noexcept { return counts_; }

 protected:
  virtual int take(const PassResult& result, int texts) = 0;

  TextState* text_;
  DecodeCounts counts_;
};

/// Throws Error(usage) where the model cannot be decoded in the way that `options` ask for, or they
/// contradict `rules`. [any-thread]
void check_decoding(const LoadedModel& model, const DecodeOptions& options, const TextRules& rules);

/// The decoder that `options` ask for. Text and engine outlive it, and so does what `options` refer
/// to; checked by check_decoding(). `sequence` is the one that it will work with, or nullptr where
/// that is made for it: without what a draft head needs, such a head is not chosen automatically,
/// and to ask for it is an Error(internal). [any-thread]
std::unique_ptr<Decoder> make_decoder(Engine& engine, TextState& text, const DecodeOptions& options,
                                      const Sequence* sequence);

/// An empty sequence with all that the decoder of `options` needs.
Sequence make_sequence(Engine& engine, const DecodeOptions& options);

}  // namespace quiver
