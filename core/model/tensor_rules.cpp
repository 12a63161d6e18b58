// Applies a family's tensor rules to names.
#include "core/model/tensor_rules.hpp"

#include <vector>

namespace quiver {
namespace {

/// Matches `name` against `pattern`, where `*` is one or more characters without a dot, and records
/// what each `*` matched. Backtracks over one star at a time: names and patterns are short.
bool match(std::string_view pattern, std::string_view name, std::vector<std::string>& stars) {
  if (pattern.empty()) return name.empty();
  if (pattern == "**") {
    stars.emplace_back(name);
    return !name.empty();
  }
  if (pattern.front() != '*') {
    return !name.empty() && name.front() == pattern.front() &&
           match(pattern.substr(1), name.substr(1), stars);
  }
  for (std::size_t length = 1; length <= name.size() && name[length - 1] != '.'; ++length) {
    stars.emplace_back(name.substr(0, length));
    if (match(pattern.substr(1), name.substr(length), stars)) return true;
    stars.pop_back();
  }
  return false;
}

std::string substitute(std::string_view pattern, const std::vector<std::string>& stars) {
  std::string name;
  std::size_t next = 0;
  if (pattern.ends_with("**")) pattern.remove_suffix(1);
  for (const char c : pattern) {
    if (c == '*' && next < stars.size()) {
      name += stars[next++];
    } else {
      name += c;
    }
  }
  return name;
}

bool holds(const char* condition, const Config& config) {
  if (condition == nullptr) return true;
  const bool is_negated = *condition == '!';
  return config.flag(condition + (is_negated ? 1 : 0), false) != is_negated;
}

}  // namespace

AppliedRule apply_rules(std::span<const TensorRule> rules, std::string_view name,
                        const Config& config) {
  std::vector<std::string> stars;
  for (const TensorRule& rule : rules) {
    stars.clear();
    if (!holds(rule.condition, config) || !match(rule.from, name, stars)) continue;
    AppliedRule applied;
    applied.kind = rule.kind;
    if (is_drop(rule.kind)) return applied;
    applied.name = substitute(rule.to, stars);
    if (rule.kind == TensorRuleKind::rename_deinterleave_heads) {
      applied.heads = config.integer(rule.parameter);
    }
    return applied;
  }
  return {TensorRuleKind::rename, std::string(name), 0};
}

}  // namespace quiver
