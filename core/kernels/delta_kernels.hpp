// The kernels of the gated delta rule, and the small structures that they work on.
#pragma once

#include <cstddef>

namespace quiver {

/// Updates of a state [key_dim, value_dim], the oldest first: S = decay_r S + k_r delta_r^T.
struct DeltaRuleUpdates {
  int rows = 0;
  const float* k = nullptr;  ///< Row r at k + r * k_stride.
  std::size_t k_stride = 0;
  const float* delta = nullptr;
  std::size_t delta_stride = 0;
  const float* decay = nullptr;  ///< One value a row.
  std::size_t decay_stride = 0;
};

/// One walk over some columns of a state S: updates are applied, then one row looks at the result.
struct DeltaRulePass {
  int key_dim = 0;
  int columns = 0;
  const float* from = nullptr;  ///< [key_dim, columns]
  std::size_t from_stride = 0;
  bool is_far = false;         ///< `from` has no other columns, and may lie far from the processor.
  DeltaRuleUpdates updates{};  ///< `delta` begins with the first of the columns.
  float* to = nullptr;         ///< S after the updates, may be `from`; null: it is not wanted.
  std::size_t to_stride = 0;
  const float* k = nullptr;  ///< Of the row, [key_dim]; null: no row looks.
  const float* q = nullptr;  ///< [key_dim]; null: no output is wanted.
  const float* v = nullptr;  ///< [columns]
  float beta = 0;
  float decay = 0;
  float kq = 0;            ///< dot(k, q)
  float* delta = nullptr;  ///< [columns], beta (v - decay S^T k)
  float* out = nullptr;    ///< [columns], decay S^T q + delta kq
};

/// One factor pair of a product: sum_i x[r * x_row + i * x_inner] * w[i * w_stride + c], i < inner.
struct ProductTerm {
  const float* x = nullptr;
  std::size_t x_row = 0;
  std::size_t x_inner = 0;
  const float* w = nullptr;
  std::size_t w_stride = 0;
  int inner = 0;
};

enum class ProductForm {
  full,
  lower,         ///< Only columns c <= r are wanted; the others may be written or not.
  lower_second,  ///< Row r takes terms i <= r of `second`, whose x is 0 for other i.
  solve,         ///< Row r takes terms i < r of `second`, whose w is `out`: a triangular solve.
};

/// out[r, c] = (base_scales[r] * base[r, c] + first_scales[r] * first[r, c]) + second[r, c].
struct ChunkProduct {
  ProductForm form = ProductForm::full;
  int rows = 0;
  int columns = 0;
  ProductTerm first{};
  const float* first_scales = nullptr;  ///< Null: as it is.
  const float* base = nullptr;          ///< Row r at base + r * base_stride; null: none.
  std::size_t base_stride = 0;
  const float* base_scales = nullptr;  ///< One value each `base_scales_stride`, which may be 0.
  std::size_t base_scales_stride = 0;
  ProductTerm second{};
  float* out = nullptr;
  std::size_t out_stride = 0;
};

/// Every output element is computed in one order of operations, whatever stands around it.
struct DeltaRuleKernels {
  /// Products and sums round by themselves, over key_dim in order: the same bits in every table.
  /// [any-thread]
  void (*pass)(const DeltaRulePass& pass);

  /// Each sum of products is one chain in the order of i. Tables with fused multiply-adds use
  /// them, and have the same bits among themselves. [any-thread]
  void (*product)(const ChunkProduct& product);

  /// out[c * out_stride + r] = in[r * in_stride + c]. [any-thread]
  void (*transpose)(const float* in, std::size_t in_stride, int rows, int columns, float* out,
                    std::size_t out_stride);

  /// sum_i x[i] * y[i] in sixteen chains that are added up by halves, the same bits in every table.
  /// [any-thread]
  float (*dot)(const float* x, const float* y, int count);

  /// Columns of a state that several rows should walk over before the next columns: such a part of
  /// the state stays in a near cache.
  int pass_columns;
};

}  // namespace quiver
