// Changing the logits of single tokens, wherever among the candidates they stand.
#pragma once

#include "candidates.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace quiver::samplers {

/// A number for a token: a count, a bias, a penalty.
struct TokenValue {
  std::int32_t id;
  double value;
};

/// The newest `window` tokens of a history, all of them for a window below 1. [any-thread]
inline std::span<const std::int32_t> newest(std::span<const std::int32_t> history, int window) {
  if (window < 1) return history;
  return history.last(std::min(history.size(), static_cast<std::size_t>(window)));
}

/// Replaces the logit of every candidate in `values` (ascending ids, each once) by
/// change(logit, value). Tokens that are ruled out stay so. [any-thread]
template <class Change>
void change_logits(Candidates& candidates, std::span<const TokenValue> values, Change change) {
  if (values.empty()) return;
  candidates.is_sorted = false;
  const auto update = [&](std::size_t i, double value) {
    candidates.logits[i] = to_logit(change(static_cast<double>(candidates.logits[i]), value));
  };
  if (candidates.is_indexed) {
    for (const TokenValue& token : values) {
      const auto i = static_cast<std::size_t>(token.id);
      if (token.id >= 0 && i < candidates.count) update(i, token.value);
    }
    return;
  }
  for (std::size_t i = 0; i < candidates.count; ++i) {
    const auto found =
        std::lower_bound(values.begin(), values.end(), candidates.ids[i],
                         [](const TokenValue& token, std::int32_t id) { return token.id < id; });
    if (found != values.end() && found->id == candidates.ids[i]) update(i, found->value);
  }
}

}  // namespace quiver::samplers
