// Kernels of the gated delta rule, built for NEON. See delta.inc.
#include <arm_neon.h>

#include <cstddef>

#include "core/kernels/delta_kernels.hpp"
#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 4;
constexpr int kPassVectors = 8;
constexpr int kPassColumns = 32;
constexpr int kTileRows = 4;
constexpr int kTileVectors = 4;

inline float32x4_t fused(float32x4_t a, float32x4_t b, float32x4_t c) {
  return vfmaq_f32(c, a, b);
}

#include "core/kernels/delta.inc"

}  // namespace

const DeltaRuleKernels& neon_delta_rule_kernels() {
  return kDeltaRule;
}

}  // namespace quiver
