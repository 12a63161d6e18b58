// Elementwise kernels, built for AVX512. See elements.inc.
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 16;

#include "core/kernels/elements.inc"

}  // namespace

const ElementKernels& avx512_element_kernels() {
  return kElements;
}

}  // namespace quiver
