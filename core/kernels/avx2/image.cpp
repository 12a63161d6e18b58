// Kernels on feature maps for AVX2 with FMA. See image_kernels.inc.
#include <immintrin.h>

#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/avx2/floats.inc"

struct Policy : FloatVectors {
  static constexpr int kPanels = 1;
  /// With the weights of a step and a broadcast input in the 16 registers.
  template <int Vectors>
  static constexpr int kPixels = 6;
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

const ImageKernels& avx2_image_kernels() {
  return kKernels;
}

}  // namespace quiver
