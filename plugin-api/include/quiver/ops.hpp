// The maths that forward passes are written in.
#pragma once

#include <quiver/handles.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

enum class Activation : std::uint32_t {
  none = 0,
  silu = 1,       ///< x * sigmoid(x)
  gelu_tanh = 2,  ///< 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  gelu_erf = 3,   ///< 0.5 x (1 + erf(x / sqrt(2)))
  sigmoid = 4,
  relu = 5,
  tanh = 6,
};

struct AttentionSpec {
  float scale = 1.0F;     ///< Multiplies q k^T before the softmax.
  float soft_cap = 0.0F;  ///< cap * tanh(score / cap) before the softmax; 0 = off.
};

struct CausalConvUse {
  Activation activation = Activation::none;  ///< Applied to the convolution's result.
  bool residual = false;                     ///< Adds the input to the (activated) result.
};

/// The operations of one forward pass, bound to its batch of rows: each row knows its sequence, its
/// position and its caches, so a family passes none of these. Made by the host for one forward; a
/// family keeps neither the Ops nor a Tensor. The same forward pass runs on other implementations:
/// one that measures, one that records a tape for training.
///
/// Shapes are [rows, width]; a wrong width is an Error(internal) that names the operation. A row's
/// result does not depend on which other rows are in the batch. [one-call-at-a-time]
class Ops {
 public:
  virtual ~Ops() = default;

  /// Rows of the table for this batch's token ids -> [rows, width of the table].
  virtual Tensor embed(Embedding table) = 0;

  /// y = W x + b, with any adapter of the row's sequence applied.
  virtual Tensor linear(Tensor x, Linear weight) = 0;

  /// Several linears of one input in one pass over it. `out` has as many elements as `weights`.
  virtual void linears(Tensor x, std::span<const Linear> weights, std::span<Tensor> out) = 0;

  /// activation(gate x) * (up x) -> [rows, outputs of gate], in one pass.
  virtual Tensor gated(Tensor x, Linear gate, Linear up, Activation activation) = 0;

  /// x E^T: the tied output head -> [rows, rows of the table].
  virtual Tensor project(Tensor x, Embedding table) = 0;

  /// x * (mean(x^2) + epsilon)^-1/2 * weight over the whole row. Statistics in float32.
  /// Source: Zhang and Sennrich, arXiv 1910.07467.
  virtual Tensor rms_norm(Tensor x, Norm norm) = 0;

  /// The same over each head: a row is seen as width / size-of-norm heads.
  virtual Tensor rms_norm_heads(Tensor x, Norm norm) = 0;

  /// Turns the heads (each `head_dim` wide) of x by the rows' positions; see RopeSpec.
  virtual Tensor rope(Tensor x, Rope rope, int head_dim) = 0;

  /// Appends k and v [rows, kv_heads * head_dim] to the rows' sequences, then
  /// softmax(scale q k^T + visibility) v for q [rows, heads * head_dim] -> [rows, heads *
  /// head_dim]. heads is a multiple of kv_heads; head h reads key head h / (heads / kv_heads). What
  /// a row sees follows from its sequence's rule and the cache's window. With k and v none, only
  /// reads; with q none, only appends, and returns none.
  virtual Tensor attention(KvCache cache, Tensor q, Tensor k, Tensor v,
                           const AttentionSpec& spec) = 0;

  /// c[t] = sum_j w[j] x[t - (kernel - 1) + j] + bias per channel, inputs before the start of a
  /// sequence being zero; then activation and residual. Moves the sequences' windows on.
  virtual Tensor causal_conv(Tensor x, CausalConv conv, const CausalConvUse& use) = 0;

  virtual Tensor add(Tensor a, Tensor b) = 0;
  virtual Tensor multiply(Tensor a, Tensor b) = 0;
  virtual Tensor scale(Tensor x, float factor) = 0;
  virtual Tensor activate(Tensor x, Activation activation) = 0;

  /// x * activation(gates). The width of x is a multiple of that of gates: each gate is for as many
  /// neighbouring columns.
  virtual Tensor gate(Tensor x, Tensor gates, Activation activation) = 0;

  /// cap * tanh(x / cap); returns x where cap <= 0.
  virtual Tensor soft_cap(Tensor x, float cap) = 0;

  /// Softmax over each row.
  virtual Tensor softmax(Tensor x) = 0;

  /// From each of `heads` equal parts of a row the columns [begin, begin + width of one part's
  /// slice) -> [rows, heads * width]. heads = 1 slices the row itself.
  virtual Tensor slice_heads(Tensor x, int heads, int begin, int width) = 0;

  /// Columns of all parts side by side.
  virtual Tensor concat(std::span<const Tensor> parts) = 0;

  /// Operations beyond these, by interface id (e.g. those of experts, recurrences or images);
  /// nullptr where this host has none of that name.
  virtual void* extension(std::string_view interface_id) = 0;

  // Conveniences over the above.

  /// linears() for a fixed number: `auto [q, k, v] = ops.linears(h, a, b, c);`
  template <class... Ls>
  std::array<Tensor, sizeof...(Ls)> linears(Tensor x, Ls... weights) {
    const std::array<Linear, sizeof...(Ls)> in{weights...};
    std::array<Tensor, sizeof...(Ls)> out;
    linears(x, std::span<const Linear>(in), std::span<Tensor>(out));
    return out;
  }
};

}  // namespace quiver
