// Samplers applied one after another, and the state that they keep for a sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <quiver/sampler.hpp>
#include <span>
#include <vector>

namespace quiver {

/// What a chain knows of one sequence: plain values, copied to go back to an earlier token.
struct SamplerState {
  std::uint64_t seed = 0;
  std::vector<std::byte> bytes;  ///< The samplers' states one after another.
};

/// What a chain would choose, and how sure it is.
struct Proposal {
  std::int32_t token = 0;
  float confidence = 0;  ///< Probability of the token among the candidates that are left.
  float entropy = 0;     ///< Of their distribution, in nats.
};

/// An immutable list of samplers. Without one that chooses, the most likely token is taken (the
/// lowest id among equals). [any-thread]
class SamplerChain {
 public:
  SamplerChain() = default;
  explicit SamplerChain(std::vector<std::shared_ptr<const Sampler>> samplers);

  /// State of a new sequence.
  SamplerState start(std::uint64_t seed) const;

  /// The next token after `history`, of which the first `prompt_length` are the prompt. `logits`
  /// has one value a token and is used up. `vocabulary` may be nullptr. Throws Error(bad_input)
  /// where a logit is not a number or no token is left, and Error(plugin) where a sampler breaks
  /// its contract.
  std::int32_t next(std::span<float> logits, std::span<const std::int32_t> history,
                    std::size_t prompt_length, const Vocabulary* vocabulary,
                    SamplerState& state) const;

  /// What next() would choose `ahead` tokens after the end of `history` without knowing those
  /// between: it draws the random numbers of that place and leaves `state` alone.
  Proposal propose(std::span<float> logits, std::span<const std::int32_t> history,
                   std::size_t prompt_length, const Vocabulary* vocabulary,
                   const SamplerState& state, std::size_t ahead) const;

  /// The token of propose() alone, which takes less time.
  std::int32_t guess(std::span<float> logits, std::span<const std::int32_t> history,
                     std::size_t prompt_length, const Vocabulary* vocabulary,
                     const SamplerState& state, std::size_t ahead) const;

  bool is_empty() const noexcept { return samplers_.empty(); }

 private:
  class Context;
  std::int32_t run(std::span<float> logits, Context& context, std::span<std::byte> bytes,
                   Proposal* proposal) const;

  std::vector<std::shared_ptr<const Sampler>> samplers_;
  std::vector<std::size_t> offsets_;
  std::size_t state_bytes_ = 0;
};

}  // namespace quiver
