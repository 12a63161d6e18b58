// Kernels on feature maps for AVX-512 (F, DQ). See image_kernels.inc.
#include <immintrin.h>

#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/avx512/floats.inc"

struct Policy : FloatVectors {
  static constexpr int kPanels = 3;
  /// With the weights of a step and a broadcast input in the 32 registers.
  template <int Vectors>
  static constexpr int kPixels = Vectors == 1   ? 24
                                 : Vectors == 2 ? 14
                                                : 9;
};

#include "core/kernels/image_kernels.inc"
#include "core/kernels/winograd_kernels.inc"

constexpr ImageKernels kKernels = {
    2,
    convolve<Policy>,
    depthwise<Policy>,
    {{winograd_input<Policy, WinogradByOne>, winograd_output<Policy, WinogradByOne>},
     {winograd_input<Policy, WinogradByTwo>, winograd_output<Policy, WinogradByTwo>}}};

}  // namespace

const ImageKernels& avx512_image_kernels() {
  return kKernels;
}

}  // namespace quiver
