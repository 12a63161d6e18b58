// The layers of a model as something to allocate bits among, and the way back to formats.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/quantize/convert.hpp"

namespace quiver {

/// Layers without a choice (no group size fits, no text used them, or the reference package's rules
/// leave them out) count as fixed. Layers, options and scheme outlive the object. [any-thread]
class LayerProblem {
 public:
  /// `kl` by layer, empty where there are no measurements. `uniform_bits`: the width of the
  /// stand-in that they were measured against, 0 = none. `fixed` is what no layer holds. Throws
  /// Error(bad_input) where no layer has a choice.
  LayerProblem(std::span<const QuantizableLayer> layers, std::span<const WidthDivergences> kl,
               const FixedSize& fixed, const ConvertOptions& options, const QuantScheme& scheme,
               int uniform_bits);

  const AllocationProblem& problem() const noexcept { return problem_; }

  /// The formats of all layers for choices by unit; those without a choice get `widest` bits where
  /// they can be quantized.
  std::vector<LayerFormat> formats(const std::vector<std::size_t>& choices, int widest) const;

  /// A sentence for each layer that has other groups than the options ask for, or none.
  std::vector<std::string> warnings() const;

  /// Bytes of a layer as it would be written.
  std::uint64_t bytes(std::size_t layer, const LayerFormat& format) const;

 private:
  bool is_fixed(const QuantizableLayer& layer) const;
  LayerFormat fixed_format(const QuantizableLayer& layer, int widest) const;

  std::span<const QuantizableLayer> layers_;
  const ConvertOptions& options_;
  const QuantScheme& scheme_;
  int uniform_bits_;
  AllocationProblem problem_;
  std::vector<std::size_t> units_;  ///< Layer of each unit.
};

}  // namespace quiver
