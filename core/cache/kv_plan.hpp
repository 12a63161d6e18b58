// Which strategy stores the keys and values of which layer.
#pragma once

#include <cstddef>
#include <memory>
#include <quiver/kv_strategy.hpp>
#include <utility>
#include <vector>

namespace quiver {

/// How the caches of a model store keys and values. Newest tokens may be kept in a finer form: they
/// are written by `fresh`, and stored by their layer's strategy once `recent` tokens follow them.
/// A plain value; strategies are shared.
struct KvPlan {
  /// One strategy for all layers and tokens. Not explicit: this is what most callers mean.
  template <class Strategy>
  KvPlan(std::shared_ptr<Strategy> strategy)  // NOLINT(google-explicit-constructor)
      : all(std::move(strategy)) {}

  std::shared_ptr<const KvStrategy> all;  ///< Of layers that have none of their own.
  std::vector<std::shared_ptr<const KvStrategy>> layers;  ///< By KvCache::id; shorter = none.
  std::shared_ptr<const KvStrategy> fresh;                ///< nullptr where `recent` is 0.
  int recent = 0;  ///< Newest tokens that every row sees as `fresh` wrote them, at least.

  /// What a layer's tokens end up in. [any-thread]
  const KvStrategy& strategy(std::size_t layer) const {
    return layer < layers.size() && layers[layer] ? *layers[layer] : *all;
  }
};

}  // namespace quiver
