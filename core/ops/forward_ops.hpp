// Ops that compute: float32 on this machine, in an order that depends on nothing but the row.
#pragma once

#include <functional>
#include <map>
#include <quiver/ops.hpp>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/cache/kv_plan.hpp"
#include "core/model/packed_model.hpp"
#include "core/model/weight_store.hpp"
#include "core/ops/arena.hpp"
#include "core/ops/attention_tile.hpp"
#include "core/ops/batch.hpp"
#include "core/ops/compute.hpp"
#include "core/ops/weight_variants.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// Which packed matrices were read after which. Passes mostly read all in the same order, so what
/// comes next is known ahead. [one-call-at-a-time]
class ReadingOrder {
 public:
  /// What each thread reads.
  using Step = std::vector<ThreadPool::Reading>;

  /// Records that `step`, which is not empty, is read now; gives what was read after it the last
  /// time, or nullptr.
  const Step* next(const Step& step) {
    followers_[last_] = step;
    last_ = step.front().begin;
    const auto found = followers_.find(last_);
    return found == followers_.end() ? nullptr : &found->second;
  }

 private:
  std::unordered_map<const std::byte*, Step> followers_;
  const std::byte* last_ = nullptr;
};

/// Memory that forward passes reuse from one to the next. [one-call-at-a-time]
struct ForwardMemory {
  Arena base;                  ///< Tensors from outside the blocks.
  std::array<Arena, 2> block;  ///< Tensors of a block and of the one before it, in turn.
  std::vector<std::vector<float>> scratch;  ///< One buffer a worker.
  Arena activations;                        ///< Quantized inputs of the linears under way.
  ReadingOrder order;
};

/// Sees each use of a matrix and its input: values [rows, columns of the matrix]; none where rows
/// of the matrix are looked up by token.
using InputObserver =
    std::function<void(const StoredMatrix& matrix, int rows, std::span<const float> values)>;

/// What a pass computes with besides the weights.
struct ForwardMeans {
  ThreadPool& threads;
  ComputeOptions compute;
  PackedModel* packed = nullptr;             ///< nullptr in exact mode.
  const WeightVariants* variants = nullptr;  ///< Replaced matrices compute in float32.
  InputObserver observer{};
};

/// Rows next to each other that are for the same thing.
struct FormRun {
  int first = 0;
  int rows = 0;
  RowForm form = RowForm::prompt;
};

/// Rows next to each other that compute with the same weights.
struct VariantRun {
  int first = 0;
  int rows = 0;
  int variant = 0;
};

/// One forward pass. Every row's bits are the same whatever the other rows are and however many
/// threads run. [one-call-at-a-time]
class ForwardOps : public Ops, public RecurrentOps, public ExpertOps, public TowerOps {
 public:
  /// All references outlive the object. `batch` has begun in its sequences.
  ForwardOps(const WeightStore& weights, const KvPlan& kv, const Batch& batch,
             ForwardMemory& memory, const ForwardMeans& means);

  Tensor embed(Embedding table) override;
  Tensor linear(Tensor x, Linear weight) override;
  void linears(Tensor x, std::span<const Linear> weights, std::span<Tensor> out) override;
  Tensor gated(Tensor x, Linear gate, Linear up, Activation activation) override;
  Tensor project(Tensor x, Embedding table) override;
  Tensor rms_norm(Tensor x, Norm norm) override;
  Tensor rms_norm_heads(Tensor x, Norm norm) override;
  Tensor rope(Tensor x, Rope rope, int head_dim) override;
  Tensor attention(KvCache cache, Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) override;
  Tensor causal_conv(Tensor x, CausalConv conv, const CausalConvUse& use) override;
  Tensor add(Tensor a, Tensor b) override;
  Tensor multiply(Tensor a, Tensor b) override;
  Tensor scale(Tensor x, float factor) override;
  Tensor activate(Tensor x, Activation activation) override;
  Tensor gate(Tensor x, Tensor gates, Activation activation) override;
  Tensor soft_cap(Tensor x, float cap) override;
  Tensor softmax(Tensor x) override;
  Tensor slice_heads(Tensor x, int heads, int begin, int width) override;
  Tensor concat(std::span<const Tensor> parts) override;
  void* extension(std::string_view interface_id) override;
  Tensor gated_delta_rule(Tensor qkv, Tensor a, Tensor b, DeltaRule rule) override;
  Tensor gated_experts(Tensor x, Tensor router_logits, const RoutingSpec& routing,
                       ExpertLinear gate, ExpertLinear up, ExpertLinear down,
                       Activation activation) override;
  Tensor layer_norm(Tensor x, LayerNorm norm) override;
  Tensor positions(PositionTable table) override;
  Tensor picture_attention(Tensor q, Tensor k, Tensor v, int heads, float scale) override;
  Tensor merge_rows(Tensor x, int count) override;
  using Ops::linears;

  /// Called around each block: tensors made inside one end with it, except those in its stream.
  void begin_block();
  void end_block(Stream& stream);

  /// A tensor of the given rows of `x`, those whose logits are wanted: they count as decoded.
  Tensor select_rows(Tensor x, std::span<const int> rows);

  /// A tensor of the batch's rows with the given values [rows, width], e.g. of a stream that was
  /// kept.
  Tensor adopt(std::span<const float> values, int width);

  /// From now on projections onto `whole`, as a linear or a table, give the outputs of `part`, some
  /// of its rows. Both outlive the object.
  void shorten(const StoredMatrix& whole, const StoredMatrix& part) {
    shortened_ = {&whole, &part};
  }

  /// The values [rows, width] of a tensor, valid as long as the tensor.
  std::span<const float> values(Tensor x) const;

 private:
  struct Data {
    float* values;
    int rows;
    int width;
    bool is_selected;  ///< Of the rows that select_rows() chose, not of the batch.
  };

  Tensor make(int rows, int width);
  const Data& data(Tensor x, const char* operation) const;
  float* row(const Data& d, int r) const {
    return d.values + static_cast<std::size_t>(r) * static_cast<std::size_t>(d.width);
  }
  template <class Function>
  Tensor map(Tensor x, const char* operation, const Function& function);
  template <class Function>
  Tensor combine(Tensor a, Tensor b, const char* operation, const Function& function);
  /// body(first_row, last_row) over all rows, split among the workers.
  template <class Body>
  void for_rows(int rows, std::size_t work_per_row, const Body& body);

  /// Rows of x times outputs [first, first + outputs) of a matrix, into the same rows of `out`.
  struct Product {
    const StoredMatrix* matrix;
    const std::vector<float>* bias;  ///< Of all outputs, or empty.
    const Data* x;
    const Data* out;
    std::int64_t first = 0;
    std::int64_t outputs = 0;
    FormRun run{};             ///< Rows of x and out.
    bool is_resolved = false;  ///< `matrix` is that of the rows' variant already.
    const PackedWeights* packed = nullptr;
    ActivationFormat format = ActivationFormat::int16;
  };
  /// The product with a whole matrix.
  static Product product_of(const StoredMatrix& matrix, const std::vector<float>& bias,
                            const Data& x, const Data& out) {
    return {&matrix, &bias, &x, &out, 0, matrix.rows};
  }
  /// Products of one input, over all of its rows.
  /// What stands for a matrix whose rows are outputs; see shorten().
  const StoredMatrix& outputs_of(const StoredMatrix& matrix) const {
    return &matrix == shortened_.first ? *shortened_.second : matrix;
  }
  void multiply_matrices(const Data& x, std::span<const Product> products);
  /// Products whose rows are given, of inputs that may differ.
  void multiply_runs(std::span<const Product> products);
  void add_replaced(const Product& product, std::vector<Product>& floats) const;
  void multiply_floats(std::span<const Product> products);
  void multiply_packed(std::span<const Product> products);
  /// Rows that take the same expert of the same weights.
  struct ExpertGroup;
  std::vector<ExpertGroup> route(const Data& x, const Data& logits, const FormRun& run,
                                 const RoutingSpec& routing) const;
  void run_experts(const Data& x, const FormRun& run, std::span<ExpertGroup> groups,
                   const std::array<const LinearPart*, 3>& parts, Activation activation,
                   const Data& out);
  /// values *= activation(gates), row by row.
  void multiply_activated(const Data& gates, const Data& values, Activation activation);
  /// Quantized rows of a run, valid until the next product.
  const std::byte* quantize_rows(const Data& x, const FormRun& run, ActivationFormat format,
                                 int group_size);
  std::span<const FormRun> runs_of(const Data& x) const;
  std::span<const VariantRun> variants_of(const Data& x) const {
    return x.is_selected ? selected_variants_ : batch_variants_;
  }
  Tensor norm_rows(Tensor x, Norm norm, bool by_head);
  Tensor prepare_delta_rule(Tensor qkv, Tensor a, Tensor b, const DeltaRulePart& part);
  void append(KvCache cache, Tensor k, Tensor v);
  void store_pages(KvCache cache);
  /// Rows that attend together, and where they lie in the batch. Pages of two forms take two tiles.
  struct PlacedTile {
    std::array<AttentionTile, 2> tiles;
    int count = 0;
    int first_row = 0;

    std::span<const AttentionTile> parts() const noexcept {
      return std::span(tiles).first(static_cast<std::size_t>(count));
    }
  };
  std::vector<PlacedTile> place_tiles(KvCache cache, int group, const AttentionSpec& spec) const;
  void gather_queries(const AttentionTile& tile, int first_row, const Data& q,
                      const AttentionSpec& spec, float* queries) const;
  void scatter_output(const PlacedTile& placed, int query, std::span<const SoftmaxState> states,
                      const Data& out) const;
  void attend_by_tile(std::span<const PlacedTile> tiles, const Data& q, const Data& out,
                      const AttentionSpec& spec, bool is_shared);
  void attend_by_split(std::span<const PlacedTile> tiles, const Data& q, const Data& out,
                       const AttentionSpec& spec);
  void join_splits(std::span<const PlacedTile> tiles, std::span<const SoftmaxState> states,
                   const Data& out);
  const std::vector<float>& rotations(Rope rope);

  const WeightStore& weights_;
  const KvPlan& kv_;
  const Batch& batch_;
  ForwardMemory& memory_;
  ThreadPool& threads_;
  ComputeOptions compute_;
  PackedModel* packed_;
  const WeightVariants* variants_;
  InputObserver observer_;
  std::vector<FormRun> batch_runs_;
  std::vector<VariantRun> batch_variants_;
  std::pair<const StoredMatrix*, const StoredMatrix*> shortened_{};
  bool is_selected_ = false;
  FormRun selected_run_;
  std::vector<VariantRun> selected_variants_;
  Arena* arena_;
  int next_block_arena_ = 0;
  std::vector<Data> tensors_;
  std::map<std::int32_t, std::vector<float>> rotations_;  // [row] cosines, then sines
};

}  // namespace quiver
