// Autoregressive generation of one text: the loop, and everything that can end it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/decode/engine.hpp"
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
};

struct GenerationOptions {
  int max_tokens = 256;
  /// Tokens that the sequence holds already: the samplers' history begins with them.
  std::span<const std::int32_t> cached;
  std::vector<std::int32_t> end_ids;  ///< Ids that end the text; the one met is kept in the ids.
  std::uint64_t seed = 0;
  const Vocabulary* vocabulary = nullptr;  ///< For samplers that look at texts.
  TokenFilter* filter = nullptr;
  /// Called with each new token; returning false ends the text there (stop strings).
  std::function<bool(std::int32_t token)> on_token;
  std::function<bool(std::size_t done)> on_prompt;  ///< See Engine::feed_prompt.
  const std::atomic<bool>* interrupt = nullptr;     ///< Set from outside to end early.
};

struct Generation {
  std::vector<std::int32_t> ids;  ///< Generated tokens.
  FinishReason reason = FinishReason::length;
  double prompt_ms = 0;
  double first_token_ms = 0;  ///< From the start to the first token.
  double decode_ms = 0;       ///< For the tokens after the first.
};

/// Feeds `prompt` into an empty or earlier `sequence` and generates behind it. On return the
/// sequence holds everything but the last token. Ends with FinishReason::length where max_tokens or
/// the context length is reached. Throws Error(usage) for an empty prompt and Error(bad_input)
/// where the prompt alone exceeds the context.
Generation generate(Engine& engine, Sequence& sequence, std::span<const std::int32_t> prompt,
                    const SamplerChain& samplers, const GenerationOptions& options);

}  // namespace quiver
