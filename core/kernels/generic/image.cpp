// Kernels on feature maps for any machine. See image_kernels.inc.
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/generic/floats.inc"

struct Policy : FloatVectors {
  static constexpr int kPanels = 1;
  template <int Vectors>
  static constexpr int kPixels = 2;
};

#include "core/kernels/image_kernels.inc"
#include "core/kernels/winograd_kernels.inc"

constexpr ImageKernels kKernels = {
    1,
    convolve<Policy>,
    depthwise<Policy>,
    {{winograd_input<Policy, WinogradByOne>, winograd_output<Policy, WinogradByOne>},
     {winograd_input<Policy, WinogradByTwo>, winograd_output<Policy, WinogradByTwo>}}};

}  // namespace

const ImageKernels& generic_image_kernels() {
  return kKernels;
}

}  // namespace quiver
