// What the layers of a model can become, as an allocation problem, and back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/quantize/convert.hpp"

namespace quiver {

/// Layers with a choice are units of the problem; the others, which no group size fits or no text
/// uses, count as fixed. Views: the arguments outlive the object, and layers may be traced in
/// between. [one-call-at-a-time]
class LayerChoices {
 public:
  LayerChoices(const std::vector<QuantizableLayer>& layers, const FixedSize& fixed,
               const QuantScheme& scheme, const ConvertOptions& options)
      : layers_(layers), fixed_(fixed), scheme_(scheme), options_(options) {}

  /// `kl` by layer, or shorter where not all are known; unknown ones are NaN. `loss_bits` is the
  /// width of the copy that they were measured against, 0 = the full weights.
  AllocationProblem problem(std::span<const WidthDivergences> kl, int loss_bits);

  /// What chosen widths of the last problem() make of all layers; those without a choice get
  /// `widest`.
  std::vector<LayerFormat> formats(const AllocationProblem& problem,
                                   const std::vector<std::size_t>& choices, int widest) const;

  /// A sentence for each layer that has other groups than the options ask for, or none.
  std::vector<std::string> warnings() const;

  /// Bytes of a layer as it would be written.
  std::uint64_t bytes(std::size_t layer, int bits) const;

 private:
  SensitivityTable table(std::span<const WidthDivergences> kl, int loss_bits) const;
  bool is_fixed(std::size_t layer) const;
  LayerFormat fixed_format(std::size_t layer, int widest) const;

  const std::vector<QuantizableLayer>& layers_;
  const FixedSize& fixed_;
  const QuantScheme& scheme_;
  const ConvertOptions& options_;
  std::vector<std::size_t> units_;  ///< Layer of each unit of the problem.
};

}  // namespace quiver
