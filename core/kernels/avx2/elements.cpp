// Elementwise kernels, built for AVX2. See elements.inc.
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 8;

#include "core/kernels/elements.inc"

}  // namespace

const ElementKernels& avx2_element_kernels() {
  return kElements;
}

}  // namespace quiver
