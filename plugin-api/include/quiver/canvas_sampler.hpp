// What a canvas sampler implements: which positions of a canvas to fix in a denoising step.
#pragma once

#include <quiver/options.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// What is known about a canvas after one forward pass over it. All spans have one element a
/// position; they belong to the host and are valid during the call.
struct CanvasStep {
  std::span<const std::int32_t> proposal;  ///< The token that would be written there.
  std::span<const float> confidence;       ///< Its probability.
  std::span<const float> entropy;          ///< Of the position's distribution, in nats.
  std::span<const std::uint8_t> is_fixed;  ///< 1 where an earlier step fixed the position.
  std::int32_t step;                       ///< From 0.
  std::int32_t step_limit;                 ///< Steps that this canvas may take at most.
};

/// Decides what to keep. Stateless. [any-thread]
class CanvasSampler {
 public:
  virtual ~CanvasSampler() = default;

  /// Whether a position stays fixed once accepted; otherwise every step decides anew.
  virtual bool is_sticky() const = 0;

  /// Sets accept[i] to 1 for positions to fix now, 0 for the others. As long as a position is open,
  /// at least one must be accepted.
  virtual void decide(const CanvasStep& step, std::span<std::uint8_t> accept) const = 0;
};

/// The provider behind canvas sampler offers. [any-thread]
class CanvasSamplerFactory {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.canvas-sampler/1";
  virtual ~CanvasSamplerFactory() = default;

  /// Options of the canvas sampler `offer`; they live as long as the library.
  virtual std::span<const OptionSpec> options(std::string_view offer) const = 0;

  /// Makes a canvas sampler; the caller owns it and deletes it through its virtual destructor.
  virtual CanvasSampler* create(std::string_view offer, const Options& options) const = 0;
};

}  // namespace quiver
