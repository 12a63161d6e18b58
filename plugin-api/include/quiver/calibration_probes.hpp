// The extension of models that are run in more ways than feeding a text and predicting what
// follows.
#pragma once

#include <quiver/visibility.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// Asked of a Model by id, by whoever measures what quantizing does to it. Without it every
/// calibration text is fed as it is, under the causal rule. [any-thread]
class CalibrationProbes {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.calibration-probes/1";
  virtual ~CalibrationProbes() = default;

  /// Turns calibration text `index` (from 0) into what the model should see of it: may overwrite
  /// tokens, e.g. by a mask, and says which rows see which. The same arguments give the same
  /// result.
  virtual Visibility probe(int index, std::span<std::int32_t> tokens) const = 0;
};

}  // namespace quiver
