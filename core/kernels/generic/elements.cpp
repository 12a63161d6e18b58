// Elementwise kernels, built for any machine. See elements.inc.
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 4;

#include "core/kernels/elements.inc"

}  // namespace

const ElementKernels& generic_element_kernels() {
  return kElements;
}

}  // namespace quiver
