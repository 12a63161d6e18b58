// The gated delta rule of one value head, on plain float32 memory: row by row and by chunks.
//
// For each row, with the state S [key_dim, value_dim]: S = decay S; delta = beta (v - S^T k);
// S = S + k delta^T; out = S^T q. Source: Yang et al., arXiv 2412.06464.
#pragma once

#include <cstddef>
#include <span>

#include "core/kernels/kernel_table.hpp"

namespace quiver {

/// Tokens of a chunk. Chunks begin at multiples of it, counted from the first token of a text.
inline constexpr int kDeltaRuleChunk = 32;

/// Of one value head.
struct DeltaRuleShape {
  int key_dim = 0;
  int value_dim = 0;
};

/// Prepared inputs of consecutive rows of one text for one value head. Row r is token start + r.
struct DeltaRuleRows {
  int rows = 0;
  int start = 0;
  const float* q =
      nullptr;  ///< Normalised and scaled, row r at q + r * qk_stride; null: no outputs.
  const float* k = nullptr;  ///< Normalised.
  std::size_t qk_stride = 0;
  const float* v = nullptr;
  std::size_t v_stride = 0;
  const float* beta = nullptr;       ///< One value a row.
  const float* log_decay = nullptr;  ///< One value a row, finite and at most 0.
  std::size_t gate_stride = 0;
};

/// Where delta_rule_steps() writes, row r at multiples of the strides. `delta` and `decay` are what
/// DeltaRuleUpdates takes once a row is settled; `out` is used only where rows have a q.
struct DeltaRuleResults {
  float* delta = nullptr;  ///< [rows, value_dim]
  std::size_t delta_stride = 0;
  float* decay = nullptr;  ///< One value a row.
  std::size_t decay_stride = 0;
  float* out = nullptr;  ///< [rows, value_dim]
  std::size_t out_stride = 0;
};

/// Floats of scratch memory that the two functions below need. [any-thread]
std::size_t delta_rule_scratch(const DeltaRuleShape& shape, bool chunked) noexcept;

/// Step form, for decoded, verified and drafted rows. Applies `settled` to `state` for good, then
/// computes the rows without changing the state further. The bits of row r depend on the state and
/// on rows <= r only: applying r's update later through `settled` gives the very state that the
/// next row's results come from here. All tables give the same bits. `state` is quickest where it
/// begins a cache line. `scratch` is as delta_rule_scratch() says. [any-thread]
void delta_rule_steps(const DeltaRuleShape& shape, float* state, const DeltaRuleUpdates& settled,
                      const DeltaRuleRows& rows, const DeltaRuleResults& results,
                      std::span<float> scratch, const KernelTable& table = kernels());

/// Chunked form, for prompts: per chunk one triangular solve and products of small matrices.
/// Writes the state behind all rows to `next`, which must not overlap `state`, and the outputs to
/// out[r * out_stride] where rows have a q. Text that comes in pieces cut at multiples of
/// kDeltaRuleChunk gives the bits of the whole, and no output depends on later rows. Tables with
/// fused multiply-adds agree to the bit. [any-thread]
void delta_rule_chunks(const DeltaRuleShape& shape, const float* state, const DeltaRuleRows& rows,
                       float* next, float* out, std::size_t out_stride, std::span<float> scratch,
                       const KernelTable& table = kernels());

/// Scales adjacent heads of `width` in place: x * scale / sqrt(sum x^2 + 1e-6). All tables give the
/// same bits. [any-thread]
void delta_rule_normalise(float* heads, int count, int width, float scale,
                          const KernelTable& table = kernels());

/// The gates of one row from what its projections say, one value a head: beta = sigmoid(b),
/// log_decay = -e^a_log softplus(a + dt_bias), not below -1e30. [any-thread]
void delta_rule_gates(int heads, const float* a, const float* b, const float* a_log,
                      const float* dt_bias, float* beta, float* log_decay);

}  // namespace quiver
