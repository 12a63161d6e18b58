// Kernels of the gated delta rule, built for any machine. See delta.inc.
#include <cstddef>

#include "core/kernels/delta_kernels.hpp"
#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 4;
constexpr int kPassVectors = 2;
constexpr int kPassColumns = 32;
constexpr int kTileRows = 4;
constexpr int kTileVectors = 2;

using FourFloats = float __attribute__((vector_size(16)));

inline FourFloats fused(const FourFloats& a, const FourFloats& b, const FourFloats& c) {
  return a * b + c;
}

#include "core/kernels/delta.inc"

}  // namespace

const DeltaRuleKernels& generic_delta_rule_kernels() {
  return kDeltaRule;
}

}  // namespace quiver
