// Kernels of the gated delta rule, built for AVX2. See delta.inc.
#include <immintrin.h>

#include <cstddef>

#include "core/kernels/delta_kernels.hpp"
#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 8;
constexpr int kPassVectors = 4;
constexpr int kPassColumns = 32;
constexpr int kTileRows = 4;
constexpr int kTileVectors = 2;

inline __m256 fused(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}

#include "core/kernels/delta.inc"

}  // namespace

const DeltaRuleKernels& avx2_delta_rule_kernels() {
  return kDeltaRule;
}

}  // namespace quiver
