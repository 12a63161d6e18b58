// Reads kv_config.json: in how many bits each layer keeps its keys and values.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <quiver/kv_strategy.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/weight_store.hpp"
#include "core/plugin/options.hpp"

namespace quiver {

/// What a file says of one layer.
struct KvLayerConfig {
  int layer = 0;                  ///< Index of the block.
  std::string scheme = "affine";  ///< Name of a KV strategy.
  OptionInput options;            ///< Of that strategy.
  std::string label;              ///< Scheme and options for people; equal for equal strategies.
};

/// Reads a JSON list of objects {"layer_idx", "bits", "group_size"}. `group_size` may be left out,
/// and there may be "k_bits" and "v_bits", for keys and values that differ, and "scheme", the name
/// of a strategy; each becomes an option of the strategy where it is given: bits, group, key-bits,
/// value-bits. Other keys are ignored, as readers of the format do. Throws Error(bad_input) naming
/// the layer. [any-thread]
std::vector<KvLayerConfig> read_kv_config(const std::filesystem::path& path);

/// Makes the KV strategy of a name.
using KvStrategySource =
    std::function<std::shared_ptr<const KvStrategy>(std::string_view name, const OptionInput&)>;

/// Strategies by KvCache::id, nullptr for layers that `config` leaves out. Equal layers share one.
/// Throws Error(bad_input) for a layer that has no cache of its own, and for what a strategy
/// refuses; `origin` names the file. [load-thread]
std::vector<std::shared_ptr<const KvStrategy>> kv_strategies(
    const std::vector<KvLayerConfig>& config, const WeightStore& weights,
    const KvStrategySource& source, const std::string& origin);

}  // namespace quiver
