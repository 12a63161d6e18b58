// Ops that compute: float32 on this machine, in an order that depends on nothing but the row.
#pragma once

#include <map>
#include <quiver/kv_strategy.hpp>
#include <quiver/ops.hpp>
#include <string_view>
#include <vector>

#include "core/model/weight_store.hpp"
#include "core/ops/arena.hpp"
#include "core/ops/batch.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// Memory that forward passes reuse from one to the next. [one-call-at-a-time]
struct ForwardMemory {
  Arena base;                  ///< Tensors from outside the blocks.
  std::array<Arena, 2> block;  ///< Tensors of a block and of the one before it, in turn.
  std::vector<std::vector<float>> scratch;  ///< One buffer a worker.
};

/// One exact forward pass. Every row's bits are the same whatever the other rows are and however
/// many threads run. [one-call-at-a-time]
class ForwardOps : public Ops {
 public:
  /// All references outlive the object. `batch` has begun in its sequences.
  ForwardOps(const WeightStore& weights, const KvStrategy& kv, const Batch& batch,
             ForwardMemory& memory, ThreadPool& threads);

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
  Tensor soft_cap(Tensor x, float cap) override;
  Tensor softmax(Tensor x) override;
  Tensor slice_heads(Tensor x, int heads, int begin, int width) override;
  Tensor concat(std::span<const Tensor> parts) override;
  void* extension(std::string_view interface_id) override;
  using Ops::linears;

  /// Called around each block: tensors made inside one end with it, except those in its stream.
  void begin_block();
  void end_block(Stream& stream);

  /// A tensor of the given rows of `x`, e.g. those whose logits are wanted.
  Tensor select_rows(Tensor x, std::span<const int> rows);

  /// The values [rows, width] of a tensor, valid as long as the tensor.
  std::span<const float> values(Tensor x) const;

 private:
  struct Data {
    float* values;
    int rows;
    int width;
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

  struct Product {
    const StoredMatrix* matrix;
    const std::vector<float>* bias;
    const Data* out;
  };
  void multiply_matrices(const Data& x, std::span<const Product> products);
  Tensor norm_rows(Tensor x, Norm norm, bool by_head);
  void append(KvCache cache, Tensor k, Tensor v);
  void attend(KvCache cache, const Segment& segment, int row, int kv_head, const Data& q,
              const Data& out, const AttentionSpec& spec, std::vector<float>& scratch) const;
  const std::vector<float>& rotations(Rope rope);

  const WeightStore& weights_;
  const KvStrategy& kv_;
  const Batch& batch_;
  ForwardMemory& memory_;
  ThreadPool& threads_;
  Arena* arena_;
  int next_block_arena_ = 0;
  std::vector<Data> tensors_;
  std::map<std::int32_t, std::vector<float>> rotations_;  // [row][pair] cosine, sine
};

}  // namespace quiver
