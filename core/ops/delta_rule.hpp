// The gated delta rule of one value head, row by row.
#pragma once
#include <cstddef>
#include <span>
namespace quiver {
struct DeltaRuleShape {
  int key_dim = 0;
  int value_dim = 0;
};
struct DeltaRuleRows {
  int rows;
  int start;
  const float* q;
  const float* k;
  std::size_t qk_stride;
  const float* v;
  std::size_t v_stride;
  const float* beta;
  const float* log_decay;
  std::size_t gate_stride;
};
struct DeltaRuleUpdates {
  int rows;
  const float* k;
  std::size_t k_stride;
  const float* delta;
  std::size_t delta_stride;
  const float* decay;
  std::size_t decay_stride;
};
void delta_rule_steps(const DeltaRuleShape& shape, float* state, const DeltaRuleUpdates& settled,
                      const DeltaRuleRows& rows, float* delta, std::size_t delta_stride,
                      float* decay, std::size_t decay_stride, float* out, std::size_t out_stride,
                      std::span<float> scratch);
void delta_rule_chunks(const DeltaRuleShape& shape, const float* state, const DeltaRuleRows& rows,
                       float* next, float* out, std::size_t out_stride, std::span<float> scratch);
std::size_t delta_rule_scratch(const DeltaRuleShape& shape, bool chunked);
void delta_rule_normalize(float* q, float* k, int heads, int key_dim);
void delta_rule_gates(const float* a, const float* b, const float* a_log, const float* dt_bias,
                      int heads, float* beta, float* log_decay);
}  // namespace quiver
