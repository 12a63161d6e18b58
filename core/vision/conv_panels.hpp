// Kernels of convolutions in the layout of the float32 kernels, made when they are first used.
#pragma once

#include <map>
#include <vector>

#include "core/kernels/image_kernels.hpp"
#include "core/model/image_parts.hpp"
#include "core/vision/image_memory.hpp"
#include "core/vision/packed_conv.hpp"

namespace quiver {

/// A convolution in float32. Its batch norm is a scale and a bias of each output, applied to the
/// sum: weights that were multiplied by it would be rounded once more.
struct ConvPanels {
  /// Panels of 16 outputs, [columns][16] each; [9][channels] where it is depthwise. Where the
  /// kernel is transformed, panels for one sum after another, [values of the sum][inputs][16] each.
  FloatMemory weights;
  std::vector<float> scale;  ///< Filled up to whole panels, like the bias.
  std::vector<float> bias;
  int panels = 0;                          ///< 0 where it is depthwise.
  const WinogradScheme* scheme = nullptr;  ///< How the kernel is transformed; nullptr = not.
};

/// Where the sums of a transformed tile's values lie, one behind another.
class SumLayout {
 public:
  explicit SumLayout(const WinogradScheme& scheme);

  int sums() const noexcept { return static_cast<int>(widths_.size()); }
  /// Values that go to a sum.
  int width(int sum) const { return widths_[static_cast<std::size_t>(sum)]; }
  /// The sum of value i and its place among those of that sum.
  int sum_of(int value) const { return sum_of_[static_cast<std::size_t>(value)]; }
  int place_of(int value) const { return place_of_[static_cast<std::size_t>(value)]; }
  int values() const noexcept { return static_cast<int>(sum_of_.size()); }

 private:
  std::vector<int> widths_;
  std::vector<int> sum_of_;
  std::vector<int> place_of_;
};

/// `matrix` may stand for the part's own. Throws Error(bad_input) naming the part where a bare
/// config has no values. [any-thread]
ConvPanels make_panels(const Conv2dPart& part, const StoredMatrix& matrix);

/// The panels of a model's convolutions. [one-call-at-a-time]
class PanelCache {
 public:
  /// The parts outlive the cache.
  explicit PanelCache(const ImageParts& parts)
      : parts_(parts), panels_(parts.convs().size()), packed_(parts.convs().size()) {}

  const ConvPanels& find(Conv2d conv);

  /// The kernel for products with codes of `format`, or nullptr where it is not quantized, cannot
  /// be packed, or is replaced.
  const PackedConv* find_packed(Conv2d conv, ActivationFormat format);

  /// Computes `conv` with `matrix` instead of its own from now on; nullptr ends it. The matrix is
  /// not needed after the call.
  void replace(Conv2d conv, const StoredMatrix* matrix);

 private:
  const ImageParts& parts_;
  std::vector<ConvPanels> panels_;
  std::vector<PackedConv> packed_;
  std::map<std::int32_t, ConvPanels> replaced_;
};

}  // namespace quiver
