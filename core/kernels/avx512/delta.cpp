// Kernels of the gated delta rule, built for AVX-512. See delta.inc.
#include <immintrin.h>

#include <cstddef>

#include "core/kernels/delta_kernels.hpp"
#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr int kWidth = 16;
constexpr int kPassVectors = 8;
constexpr int kPassColumns = 128;
constexpr int kTileRows = 4;
constexpr int kTileVectors = 4;

inline __m512 fused(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}

#include "core/kernels/delta.inc"

}  // namespace

const DeltaRuleKernels& avx512_delta_rule_kernels() {
  return kDeltaRule;
}

}  // namespace quiver
