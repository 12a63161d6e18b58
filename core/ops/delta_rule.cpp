// The gated delta rule of one value head, on plain float32 memory: row by row and by chunks.
#include "core/ops/delta_rule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace quiver {
namespace {

constexpr std::size_t kLine = 16;  // floats of a cache line
constexpr auto kChunk = static_cast<std::size_t>(kDeltaRuleChunk);
/// e^-60 of anything is lost beside what is not so far away; what lies between it and the smallest
/// normal number would only make products slow.
constexpr double kForgotten = -60;
/// What decays more is gone at once; sums of these stay finite.
constexpr float kStrongest = -1e30F;
constexpr float kNothing = -100;  // e^kNothing is 0 for ElementKernels::exp_sum

std::size_t whole_lines(std::size_t floats) {
  return (floats + kLine - 1) / kLine * kLine;
}

/// Hands out pieces of scratch memory that begin cache lines.
class Pieces {
 public:
  explicit Pieces(std::span<float> memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    next_ = memory.data() + (64 - address % 64) % 64 / sizeof(float);
  }
  float* take(std::size_t floats) {
    float* piece = next_;
    next_ += whole_lines(floats);
    return piece;
  }

 private:
  float* next_;
};

float exponential(double exponent) {
  return exponent < kForgotten ? 0.0F : std::exp(static_cast<float>(exponent));
}

/// One chunk: what all of its steps need.
class Chunk {
 public:
  Chunk(const DeltaRuleShape& shape, std::span<float> scratch, const KernelTable& table)
      : table_(table),
        key_dim_(shape.key_dim),
        value_dim_(shape.value_dim),
        stride_(whole_lines(static_cast<std::size_t>(shape.value_dim))) {
    Pieces pieces(scratch);
    const auto keys = static_cast<std::size_t>(key_dim_);
    k_ = pieces.take(keys * kChunk);
    q_ = pieces.take(keys * kChunk);
    solve_ = pieces.take(kChunk * kChunk);
    attend_ = pieces.take(kChunk * kChunk);
    deltas_ = pieces.take(kChunk * stride_);
  }

  static std::size_t scratch(const DeltaRuleShape& shape) {
    const auto keys = static_cast<std::size_t>(shape.key_dim);
    return 2 * keys * kChunk + 2 * kChunk * kChunk +
           kChunk * whole_lines(static_cast<std::size_t>(shape.value_dim)) + kLine;
  }

  void run(const DeltaRuleRows& rows, const float* state, float* next, float* out,
           std::size_t out_stride) {
    take_gates(rows);
    take_products(rows);
    solve(rows, state);
    if (rows.q != nullptr) write_outputs(rows, state, out, out_stride);
    write_state(rows, state, next);
  }

 private:
  /// Sums of log decays in double: differences of large ones must stay exact.
  void take_gates(const DeltaRuleRows& rows) {
    double sum = 0;
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
      sum += static_cast<double>(rows.log_decay[r * rows.gate_stride]);
      sums_[r] = sum;
      since_start_[r] = exponential(sum);
      solve_scales_[r] = -rows.beta[r * rows.gate_stride] * since_start_[r];
    }
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
      to_end_[r] = exponential(sum - sums_[r]);
    }
  }

  /// k k^T and q k^T below the diagonal, faded by what decays between their rows.
  void take_products(const DeltaRuleRows& rows) {
    const auto multiply = [&](const float* x, float* out) {
      ChunkProduct product;
      product.form = ProductForm::lower;
      product.rows = product.columns = rows.rows;
      product.first = {x, 1, kChunk, k_, kChunk, key_dim_};
      product.out = out;
      product.out_stride = kChunk;
      table_.delta_rule->product(product);
    };
    table_.delta_rule->transpose(rows.k, rows.qk_stride, rows.rows, key_dim_, k_, kChunk);
    multiply(k_, solve_);
    if (rows.q != nullptr) {
      table_.delta_rule->transpose(rows.q, rows.qk_stride, rows.rows, key_dim_, q_, kChunk);
      multiply(q_, attend_);
    }
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
      std::array<float, kChunk> fading;
      for (std::size_t i = 0; i <= r; ++i) {
        const double exponent = sums_[r] - sums_[i];
        fading[i] = exponent < kForgotten ? kNothing : static_cast<float>(exponent);
      }
      table_.elements->exp_sum(fading.data(), static_cast<int>(r) + 1, 0);
      const float beta = rows.beta[r * rows.gate_stride];
      for (std::size_t i = 0; i < r; ++i) solve_[r * kChunk + i] *= -beta * fading[i];
      if (rows.q == nullptr) continue;
      float* attend = attend_ + r * kChunk;
      for (std::size_t i = 0; i <= r; ++i) attend[i] *= fading[i];
      std::fill(attend + r + 1, attend + rows.rows, 0.0F);
    }
  }

  /// The deltas of all rows: (I + beta fading k k^T) deltas = beta (v - S^T k since the start).
  void solve(const DeltaRuleRows& rows, const float* state) {
    ChunkProduct product = into_deltas(rows);
    product.form = ProductForm::solve;
    product.first = {k_, 1, kChunk, state, static_cast<std::size_t>(value_dim_), key_dim_};
    product.first_scales = solve_scales_.data();
    product.base = rows.v;
    product.base_stride = rows.v_stride;
    product.base_scales = rows.beta;
    product.base_scales_stride = rows.gate_stride;
    product.second = {solve_, kChunk, 1, deltas_, stride_, 0};
    table_.delta_rule->product(product);
  }

  void write_outputs(const DeltaRuleRows& rows, const float* state, float* out,
                     std::size_t out_stride) {
    ChunkProduct product;
    product.form = ProductForm::lower_second;
    product.rows = rows.rows;
    product.columns = value_dim_;
    product.first = {q_, 1, kChunk, state, static_cast<std::size_t>(value_dim_), key_dim_};
    product.first_scales = since_start_.data();
    product.second = {attend_, kChunk, 1, deltas_, stride_, 0};
    product.out = out;
    product.out_stride = out_stride;
    table_.delta_rule->product(product);
  }

  /// The deltas fade until the end of the chunk, the state over all of it.
  void write_state(const DeltaRuleRows& rows, const float* state, float* next) {
    ChunkProduct fade = into_deltas(rows);
    fade.base = deltas_;
    fade.base_stride = stride_;
    fade.base_scales = to_end_.data();
    fade.base_scales_stride = 1;
    table_.delta_rule->product(fade);

    ChunkProduct product;
    product.rows = key_dim_;
    product.columns = value_dim_;
    product.base = state;
    product.base_stride = static_cast<std::size_t>(value_dim_);
    product.base_scales = &since_start_[static_cast<std::size_t>(rows.rows) - 1];
    product.second = {k_, kChunk, 1, deltas_, stride_, rows.rows};
    product.out = next;
    product.out_stride = static_cast<std::size_t>(value_dim_);
    table_.delta_rule->product(product);
  }

  ChunkProduct into_deltas(const DeltaRuleRows& rows) const {
    ChunkProduct product;
    product.rows = rows.rows;
    product.columns = value_dim_;
    product.out = deltas_;
    product.out_stride = stride_;
    return product;
  }

  const KernelTable& table_;
  int key_dim_;
  int value_dim_;
  std::size_t stride_;  // of deltas
  float* k_;            // [key_dim, chunk]
  float* q_;            // [key_dim, chunk]
  float* solve_;        // [chunk, chunk]
  float* attend_;       // [chunk, chunk]
  float* deltas_;       // [chunk, value_dim]
  std::array<double, kChunk> sums_;
  std::array<float, kChunk> since_start_;
  std::array<float, kChunk> to_end_;
  std::array<float, kChunk> solve_scales_;
};

/// Rows [first, first + count) of `rows`.
DeltaRuleRows part_of(const DeltaRuleRows& rows, int first, int count) {
  const auto at = static_cast<std::size_t>(first);
  DeltaRuleRows part = rows;
  part.rows = count;
  part.start += first;
  if (part.q != nullptr) part.q += at * rows.qk_stride;
  part.k += at * rows.qk_stride;
  part.v += at * rows.v_stride;
  part.beta += at * rows.gate_stride;
  part.log_decay += at * rows.gate_stride;
  return part;
}

/// What the passes over a head have in common.
class Steps {
 public:
  Steps(const DeltaRuleShape& shape, const DeltaRuleRows& rows, const DeltaRuleResults& results,
        const DeltaRuleKernels& kernels)
      : shape_(shape), rows_(rows), results_(results), kernels_(kernels) {}

  /// Settled updates and the first row, over the whole state where it lies.
  void begin(float* state, const DeltaRuleUpdates& settled) const {
    DeltaRulePass pass = pass_of(rows_.rows > 0 ? 0 : -1, 0, shape_.value_dim);
    pass.from = state;
    pass.from_stride = static_cast<std::size_t>(shape_.value_dim);
    pass.is_far = true;
    pass.updates = settled;
    pass.to = settled.rows > 0 ? state : nullptr;
    pass.to_stride = pass.from_stride;
    kernels_.pass(pass);
  }

  /// The rows behind the first one, over a copy of some columns that each row's update changes.
  /// What the last row leaves there nobody needs.
  void go_on(const float* state, float* copy, int first, int count) const {
    for (int r = 1; r < rows_.rows; ++r) {
      DeltaRulePass pass = pass_of(r, first, count);
      const std::size_t copy_stride = whole_lines(static_cast<std::size_t>(count));
      pass.from = r == 1 ? state + first : copy;
      pass.from_stride = r == 1 ? static_cast<std::size_t>(shape_.value_dim) : copy_stride;
      const auto before = static_cast<std::size_t>(r) - 1;
      pass.updates = {1,
                      rows_.k + before * rows_.qk_stride,
                      rows_.qk_stride,
                      results_.delta + before * results_.delta_stride + first,
                      results_.delta_stride,
                      results_.decay + before * results_.decay_stride,
                      results_.decay_stride};
      pass.to = r + 1 < rows_.rows ? copy : nullptr;
      pass.to_stride = copy_stride;
      kernels_.pass(pass);
    }
  }

 private:
  /// A pass in which row `r` looks at some columns, or none where it is negative.
  DeltaRulePass pass_of(int r, int first, int count) const {
    DeltaRulePass pass;
    pass.key_dim = shape_.key_dim;
    pass.columns = count;
    if (r < 0) return pass;
    const DeltaRuleRows row = part_of(rows_, r, 1);
    const auto at = static_cast<std::size_t>(r);
    pass.k = row.k;
    pass.q = row.q;
    pass.v = row.v + first;
    pass.beta = *row.beta;
    pass.decay = results_.decay[at * results_.decay_stride];
    pass.delta = results_.delta + at * results_.delta_stride + first;
    if (row.q == nullptr) return pass;
    pass.kq = kernels_.dot(row.k, row.q, shape_.key_dim);
    pass.out = results_.out + at * results_.out_stride + first;
    return pass;
  }

  const DeltaRuleShape& shape_;
  const DeltaRuleRows& rows_;
  const DeltaRuleResults& results_;
  const DeltaRuleKernels& kernels_;
};

}  // namespace

std::size_t delta_rule_scratch(const DeltaRuleShape& shape, bool chunked) noexcept {
  if (chunked) return Chunk::scratch(shape);
  return static_cast<std::size_t>(shape.key_dim) *
             whole_lines(static_cast<std::size_t>(shape.value_dim)) +
         kLine;
}

void delta_rule_steps(const DeltaRuleShape& shape, float* state, const DeltaRuleUpdates& settled,
                      const DeltaRuleRows& rows, const DeltaRuleResults& results,
                      std::span<float> scratch, const KernelTable& table) {
  if (rows.rows == 0 && settled.rows == 0) return;
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
    results.decay[r * results.decay_stride] = std::exp(rows.log_decay[r * rows.gate_stride]);
  }
  const DeltaRuleKernels& kernels = *table.delta_rule;
  const Steps steps(shape, rows, results, kernels);
  steps.begin(state, settled);
  float* copy = Pieces(scratch).take(0);
  for (int first = 0; first < shape.value_dim; first += kernels.pass_columns) {
    steps.go_on(state, copy, first, std::min(kernels.pass_columns, shape.value_dim - first));
  }
}

void delta_rule_chunks(const DeltaRuleShape& shape, const float* state, const DeltaRuleRows& rows,
                       float* next, float* out, std::size_t out_stride, std::span<float> scratch,
                       const KernelTable& table) {
  if (rows.rows == 0) {
    std::copy_n(state,
                static_cast<std::size_t>(shape.key_dim) * static_cast<std::size_t>(shape.value_dim),
                next);
    return;
  }
  Chunk chunk(shape, scratch, table);
  for (int first = 0; first < rows.rows;) {
    const int to_grid = kDeltaRuleChunk - (rows.start + first) % kDeltaRuleChunk;
    const int count = std::min(to_grid, rows.rows - first);
    float* outputs =
        rows.q == nullptr ? nullptr : out + static_cast<std::size_t>(first) * out_stride;
    chunk.run(part_of(rows, first, count), first == 0 ? state : next, next, outputs, out_stride);
    first += count;
  }
}

void delta_rule_normalise(float* heads, int count, int width, float scale,
                          const KernelTable& table) {
  for (int head = 0; head < count; ++head, heads += width) {
    const float factor = scale / std::sqrt(table.delta_rule->dot(heads, heads, width) + 1e-6F);
    for (int i = 0; i < width; ++i) heads[i] *= factor;
  }
}

void delta_rule_gates(int heads, const float* a, const float* b, const float* a_log,
                      const float* dt_bias, float* beta, float* log_decay) {
  for (int head = 0; head < heads; ++head) {
    beta[head] = 1.0F / (1.0F + std::exp(-b[head]));
    const float x = a[head] + dt_bias[head];
    const float softplus = std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x)));
    log_decay[head] = std::max(-std::exp(a_log[head]) * softplus, kStrongest);
  }
}

}  // namespace quiver
