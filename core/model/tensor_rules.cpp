// Applies a family's tensor rules to names.
#include "core/model/tensor_rules.hpp"

#include <charconv>
#include <vector>

namespace quiver {
namespace {

/// Matches `name` against `pattern`, where `*` is one or more characters without a dot, and records
/// what each `*` matched. Backtracks over one star at a time: names and patterns are short.
bool match(std::string_view pattern, std::string_view name, std::vector<std::string>& stars) {
  if (pattern.empty()) return name.empty();
  if (pattern == "**") {
    if (!name.empty()) stars.emplace_back(name);
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

/// Replaces the beginning of `name` where a prefix rule says so.
void apply_prefix(const TensorRule& rule, std::string& name, const Config& config) {
  const std::string_view from = rule.from;
  if (!name.starts_with(from) || !holds(rule.condition, config)) return;
  name.replace(0, from.size(), rule.to);
}

/// The number that the last `*` matched.
int index_of(const std::vector<std::string>& stars, std::string_view name) {
  int index = -1;
  if (!stars.empty()) {
    const std::string& text = stars.back();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size()) index = -1;
  }
  // More than any real model stacks.
  if (index >= 0 && index < 65536) return index;
  throw Error(ErrorCode::bad_input, "the place in a stack of tensors is no number that can be",
              std::string(name), "use a complete checkpoint");
}

}  // namespace

bool matches(std::string_view pattern, std::string_view name) {
  std::vector<std::string> stars;
  return match(pattern, name, stars);
}

std::string apply_prefixes(std::span<const TensorRule> rules, std::string_view name,
                           const Config& config) {
  std::string result(name);
  for (const TensorRule& rule : rules) {
    if (rule.kind == TensorRuleKind::prefix) apply_prefix(rule, result, config);
  }
  return result;
}

AppliedRule apply_rules(std::span<const TensorRule> rules, std::string_view name,
                        const Config& config, const LayoutTest& is_original) {
  std::string current(name);
  std::vector<std::string> stars;
  for (const TensorRule& rule : rules) {
    if (rule.kind == TensorRuleKind::prefix) {
      apply_prefix(rule, current, config);
      continue;
    }
    stars.clear();
    if (!holds(rule.condition, config) || !match(rule.from, current, stars)) continue;
    if (rule.original != nullptr && !(is_original && is_original(rule.original))) continue;
    AppliedRule applied;
    applied.kind = rule.kind;
    if (is_drop(rule.kind)) return applied;
    if (rule.kind == TensorRuleKind::stack) {
      applied.index = index_of(stars, current);
      stars.pop_back();
    }
    applied.name = substitute(rule.to, stars);
    if (rule.kind == TensorRuleKind::split) applied.second = substitute(rule.parameter, stars);
    if (rule.kind == TensorRuleKind::rename_deinterleave_heads) {
      applied.heads = config.integer(rule.parameter);
    }
    return applied;
  }
  AppliedRule same;
  same.name = std::move(current);
  return same;
}

}  // namespace quiver
