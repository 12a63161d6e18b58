// What a sampler implements: a step that reshapes the logits of one row, or the choice at the end.
#pragma once

#include <quiver/options.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// The tokens that are still possible, with their logits. The arrays belong to the host. A step may
/// change logits, reorder both arrays alike, and shrink `count` (never below 1).
struct Candidates {
  float* logits;      ///< Finite, or -infinity for a token that is ruled out.
  std::int32_t* ids;  ///< Token ids, each once.
  std::size_t count;
  bool is_sorted;   ///< Logits descend, equal ones by ascending id. Clear it where that ends.
  bool is_indexed;  ///< ids[i] == i for all i, so a token is found by its id. Clear it likewise.
};

/// The tokens of a model, for samplers that look at texts. [any-thread]
class Vocabulary {
 public:
  virtual ~Vocabulary() = default;
  virtual std::int32_t size() const = 0;
  /// Bytes that the token stands for (may be part of a code point); empty for unknown ids.
  virtual std::string_view piece(std::int32_t id) const = 0;
  /// Whether the token ends a text.
  virtual bool is_end(std::int32_t id) const = 0;
};

/// Where a row stands: everything a sampler may depend on. Valid during one call. [any-thread]
class SamplerContext {
 public:
  virtual ~SamplerContext() = default;

  /// Prompt and generated tokens so far, oldest first.
  virtual std::span<const std::int32_t> history() const = 0;

  /// How many of them are the prompt.
  virtual std::size_t prompt_length() const = 0;

  /// A number in [0, 1), uniform, that depends only on the sequence's seed, the position to be
  /// filled, the place of this sampler in its chain, and `draw` (0, 1, ..): not on batching,
  /// threads or speculation. Philox4x32-10, Salmon et al., SC 2011.
  virtual double uniform(std::uint32_t draw) const = 0;

  /// The vocabulary, or nullptr where the model has no tokenizer.
  virtual const Vocabulary* vocabulary() const = 0;
};

/// One sampler with its options. Immutable: whatever changes from token to token lies in `state`,
/// plain bytes that the host keeps per sequence, copies and restores when tokens are taken back.
/// [any-thread]
class Sampler {
 public:
  virtual ~Sampler() = default;

  /// Bytes of state per sequence, at most 4096; 0 = none. Aligned to 16 bytes.
  virtual std::size_t state_bytes() const { return 0; }

  /// Writes the state of a new sequence.
  virtual void reset(std::span<std::byte> state) const { static_cast<void>(state); }

  /// Reshapes the candidates. Does nothing by default.
  virtual void apply(Candidates& candidates, const SamplerContext& context,
                     std::span<std::byte> state) const {
    static_cast<void>(candidates), static_cast<void>(context), static_cast<void>(state);
  }

  /// Whether choose() picks the token; such a sampler ends its chain.
  virtual bool chooses() const { return false; }

  /// Picks one of the candidates: its token id, or -1 where it does not choose. Called after
  /// apply(). May change `state`.
  virtual std::int32_t choose(Candidates& candidates, const SamplerContext& context,
                              std::span<std::byte> state) const {
    static_cast<void>(candidates), static_cast<void>(context), static_cast<void>(state);
    return -1;
  }
};

/// The provider behind sampler offers. [any-thread]
class SamplerFactory {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.sampler/1";
  virtual ~SamplerFactory() = default;

  /// Options of the sampler `offer`; they live as long as the library.
  virtual std::span<const OptionSpec> options(std::string_view offer) const = 0;

  /// Makes a sampler; the caller owns it and deletes it through its virtual destructor. Throws
  /// Error(usage) for options that do not fit together.
  virtual Sampler* create(std::string_view offer, const Options& options) const = 0;
};

}  // namespace quiver
