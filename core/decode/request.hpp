// What is asked of the scheduler, and what it reports when a text has ended.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <quiver/error.hpp>
#include <string>
#include <vector>

#include "core/decode/decode_options.hpp"
#include "core/decode/prompt_images.hpp"
#include "core/decode/sampler_chain.hpp"
#include "core/decode/text_state.hpp"

namespace quiver {

/// How a request ended, and what it cost.
struct RequestEnd {
  FinishReason reason = FinishReason::stop;  ///< Where there is no error.
  std::optional<Error> error;                ///< What ended this request, if it failed.
  std::size_t prompt_tokens = 0;
  std::size_t shared_tokens = 0;     ///< Of the prompt: taken from earlier texts, not computed.
  std::size_t generated_tokens = 0;  ///< Including an end id.
  DecodeCounts decoding;
  int preemptions = 0;   ///< How often it made room for older ones.
  double queue_ms = 0;   ///< Before its first pass could begin.
  double prompt_ms = 0;  ///< From there to the first token.
  double decode_ms = 0;  ///< For the tokens after the first.
};

/// One text to generate. All callbacks are called on the inference thread, between passes, so they
/// should return soon; they must not throw, and may submit and cancel requests. Whatever `rules`
/// and `decode` point to lives until on_end has been called (e.g. captured by it).
struct Request {
  std::vector<std::int32_t> prompt;
  SamplerChain samplers;
  TextRules rules;
  DecodeOptions decode;                        ///< Checked by submit().
  std::shared_ptr<const PromptImages> images;  ///< Of the prompt; may be nullptr.
  /// What decides beside tokens, images and decoding what the caches hold: model, adapter, KV
  /// scheme.
  /// Requests share prefixes under equal keys only.
  std::string prefix_key;
  std::function<void(std::size_t done)>
      on_prompt;                                  ///< Tokens of the prompt that are in the caches.
  std::function<void(const RequestEnd&)> on_end;  ///< Called once, last.
};

/// Refers to a submitted request; may outlive it and the scheduler. [any-thread]
class RequestHandle {
 public:
  explicit RequestHandle(std::shared_ptr<std::atomic<bool>> is_cancelled)
      : is_cancelled_(std::move(is_cancelled)) {}

  /// Ends the request with FinishReason::interrupted before its next pass; does nothing where it
  /// has ended. Does not wait for the end.
  void cancel() const noexcept { is_cancelled_->store(true); }

 private:
  std::shared_ptr<std::atomic<bool>> is_cancelled_;
};

}  // namespace quiver
