// Generation of one text on its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/decode/decode_options.hpp"
#include "core/decode/engine.hpp"
#include "core/decode/sampler_chain.hpp"
#include "core/decode/text_state.hpp"

namespace quiver {

struct GenerationOptions : TextRules {
  DecodeOptions decode;
  /// Tokens that the sequence holds already: the samplers' history begins with them.
  std::span<const std::int32_t> cached;
  const PromptImages* images = nullptr;             ///< Of the whole text; outlives the call.
  std::function<bool(std::size_t done)> on_prompt;  ///< See Engine::feed_prompt.
  const std::atomic<bool>* interrupt = nullptr;     ///< Set from outside to end early.
};

struct Generation {
  std::vector<std::int32_t> ids;  ///< Generated tokens.
  FinishReason reason = FinishReason::length;
  double prompt_ms = 0;
  double first_token_ms = 0;  ///< From the start to the first token.
  double decode_ms = 0;       ///< For the tokens behind the first, or for all that blocks gave.
  std::size_t decoded = 0;    ///< How many tokens those are.
  DecodeCounts counts;
};

/// Feeds `prompt` into an empty or earlier `sequence` and generates behind it. On return the
/// sequence holds everything but the last token, or of a text written in blocks the last block.
/// Ends with FinishReason::length where max_tokens or the context length is reached. Throws
/// Error(usage) for an empty prompt and what check_decoding() refuses, and Error(bad_input) where
/// the prompt alone exceeds the context.
Generation generate(Engine& engine, Sequence& sequence, std::span<const std::int32_t> prompt,
                    const SamplerChain& samplers, const GenerationOptions& options);

}  // namespace quiver
