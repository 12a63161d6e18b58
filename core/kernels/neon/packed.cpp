// Packed kernels for NEON. See packed_kernels.inc on what may stand in this file.
#include <arm_neon.h>

#include <type_traits>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

#include "core/kernels/neon_packed.inc"
#include "core/kernels/packed_kernels.inc"

constexpr PackedKernels kKernels = {packed_quantize<Policy>, packed_matmul<Policy, false>};

}  // namespace

const PackedKernels& neon_packed_kernels() {
  return kKernels;
}

}  // namespace quiver
