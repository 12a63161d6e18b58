// Applies a family's tensor rules to names.
#pragma once

#include <quiver/config.hpp>
#include <quiver/tensor_rule.hpp>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// Whether tensors that a rule of this kind matches are left out.
constexpr bool is_drop(TensorRuleKind kind) {
  return kind == TensorRuleKind::drop || kind == TensorRuleKind::drop_tower;
}

/// What the rules make of one stored name.
struct AppliedRule {
  TensorRuleKind kind = TensorRuleKind::rename;
  std::string name;  ///< The new name; empty where it is left out.
  int heads = 0;     ///< For rename_deinterleave_heads.
};

/// The first of `rules` that matches `name` under `config`, applied; a plain rename to the same
/// name where none does. Throws Error(bad_input) where a rule's parameter is missing. [any-thread]
AppliedRule apply_rules(std::span<const TensorRule> rules, std::string_view name,
                        const Config& config);

}  // namespace quiver
