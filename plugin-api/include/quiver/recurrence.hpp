// Recurrences: parts and operations of layers that keep a state of fixed size in place of a cache.
#pragma once

#include <quiver/handles.hpp>

#include <cstdint>
#include <string_view>

namespace quiver {

/// A gated delta rule and its state in every sequence.
struct DeltaRule {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};

/// Sizes of a gated delta rule. value_heads is a multiple of key_heads; value head h goes with key
/// head h / (value_heads / key_heads).
struct DeltaRuleSpec {
  int key_heads = 0;
  int value_heads = 0;
  int key_dim = 0;
  int value_dim = 0;
};

/// Asked of Weights by id. [load-thread]
class RecurrentWeights {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.recurrent-weights/1";
  virtual ~RecurrentWeights() = default;

  /// A gated delta rule with the parameters NAME.A_log and NAME.dt_bias [value_heads], and a state
  /// [value_heads, key_dim, value_dim] of float32 in every sequence. Errors as in Weights.
  virtual DeltaRule delta_rule(std::string_view name, const DeltaRuleSpec& spec) = 0;
};

/// Asked of Ops by id.
class RecurrentOps {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.recurrent-ops/1";
  virtual ~RecurrentOps() = default;

  /// The gated delta rule over the rows of each sequence in order. `qkv` holds queries and keys
  /// [key_heads * key_dim] each, then values [value_heads * value_dim]; `a` and `b` one number a
  /// value head -> [rows, value_heads * value_dim]. With q and k normalised to length 1 (1e-6 under
  /// the root), q scaled by key_dim^-1/2, and in each value head a state S [key_dim, value_dim]:
  ///   beta = sigmoid(b);  decay = exp(-exp(A_log) * softplus(a + dt_bias))
  ///   S = decay S;  S += k (beta (v - S^T k))^T;  output = S^T q
  /// Moves the sequences' states on. Source: Yang et al., Gated Delta Networks, arXiv 2412.06464.
  virtual Tensor gated_delta_rule(Tensor qkv, Tensor a, Tensor b, DeltaRule rule) = 0;
};

}  // namespace quiver
