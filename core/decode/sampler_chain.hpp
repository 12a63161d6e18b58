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

  bool is_empty() const noexcept { return samplers_.empty(); }

 private:
  std::vector<std::shared_ptr<const Sampler>> samplers_;
  std::vector<std::size_t> offsets_;
  std::size_t state_bytes_ = 0;
};

}  // namespace quiver
