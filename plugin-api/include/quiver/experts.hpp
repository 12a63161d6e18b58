// Experts: parts and operations of layers that use few of many matrices for each row.
#pragma once

#include <quiver/handles.hpp>
#include <quiver/ops.hpp>
#include <quiver/weights.hpp>

#include <cstdint>
#include <string_view>

namespace quiver {

/// Matrices of equal size, one an expert. A quantizable unit as a whole.
struct ExpertLinear {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};

struct ExpertLinearSpec {
  Role role = Role::expert;
  int experts = 0;
  int experts_per_row = 0;  ///< Used for each row; what predictions of speed go by.
};

/// How rows find their experts.
struct RoutingSpec {
  int experts_per_row = 1;
  bool renormalizes = true;  ///< The weights of the chosen experts sum to 1.
};

/// Asked of Weights by id. [load-thread]
class ExpertWeights {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.expert-weights/1";
  virtual ~ExpertWeights() = default;

  /// NAME.weight [experts, outputs, inputs], in any scheme that is installed. Errors as in Weights.
  virtual ExpertLinear expert_linear(std::string_view name, int outputs, int inputs,
                                     const ExpertLinearSpec& spec) = 0;
};

/// Asked of Ops by id.
class ExpertOps {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.expert-ops/1";
  virtual ~ExpertOps() = default;

  /// p = softmax of a row's router logits [rows, experts]; the `experts_per_row` experts of largest
  /// p (of equals those of lower index), their p renormalized if asked for; then
  ///   sum over them of p * down(activation(gate x) * (up x))  -> [rows, outputs of down].
  /// Source: Shazeer et al., arXiv 1701.06538, with gated experts.
  virtual Tensor gated_experts(Tensor x, Tensor router_logits, const RoutingSpec& routing,
                               ExpertLinear gate, ExpertLinear up, ExpertLinear down,
                               Activation activation) = 0;
};

}  // namespace quiver
