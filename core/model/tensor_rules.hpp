// Applies a family's tensor rules to names.
#pragma once

#include <functional>
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
  TensorRuleKind kind = TensorRuleKind::rename;  ///< Never prefix.
  std::string name;                              ///< The new name; empty where it is left out.
  std::string second;                            ///< Of split: the name of the second halves.
  int heads = 0;                                 ///< Of rename_deinterleave_heads.
  int index = 0;                                 ///< Of stack: the place in the stack.
};

/// Whether a tensor that matches the pattern lies in its authors' layout; see TensorRule::original.
using LayoutTest = std::function<bool(std::string_view pattern)>;

/// Whether `name` matches a pattern of names. [any-thread]
bool matches(std::string_view pattern, std::string_view name);

/// `name` with the beginnings that the prefix rules give it. [any-thread]
std::string apply_prefixes(std::span<const TensorRule> rules, std::string_view name,
                           const Config& config);

/// The first of `rules` that matches `name` under `config`, applied; a plain rename to the same
/// name where none does. Without `is_original` no tensor is in its authors' layout. Throws
/// Error(bad_input) where a rule's parameter is missing or an index is none. [any-thread]
AppliedRule apply_rules(std::span<const TensorRule> rules, std::string_view name,
                        const Config& config, const LayoutTest& is_original = {});

}  // namespace quiver
