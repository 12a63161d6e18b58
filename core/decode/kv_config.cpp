// Reads kv_config.json: in how many bits each layer keeps its keys and values.
#include "core/decode/kv_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <set>

#include "core/model/json_file.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

using Json = nlohmann::json;

constexpr const char* kHint =
    R"(write a list of objects such as {"layer_idx": 0, "bits": 8, "group_size": 64})";

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::bad_input, what, where, kHint);
}

/// An integer of an entry that fits an int, or refuses.
int integer(const Json& entry, const char* key, const std::string& where) {
  const auto found = entry.find(key);
  if (found == entry.end()) refuse(fmt::format("'{}' is missing", key), where);
  const bool fits =
      found->is_number_integer() && *found >= 0 && *found <= std::numeric_limits<int>::max();
  if (!fits) refuse(fmt::format("'{}' is not a number of zero or more", key), where);
  return found->get<int>();
}

KvLayerConfig read_layer(const Json& entry, std::size_t index, const std::string& origin) {
  const std::string place = fmt::format("{}, entry {}", origin, index);
  if (!entry.is_object()) refuse("a layer is not an object", place);
  KvLayerConfig config;
  config.layer = integer(entry, "layer_idx", place);
  const std::string where = fmt::format("{}, layer {}", origin, config.layer);
  if (const auto scheme = entry.find("scheme"); scheme != entry.end()) {
    if (!scheme->is_string()) refuse("'scheme' is not the name of a strategy", where);
    config.scheme = scheme->get<std::string>();
  } else if (!entry.contains("bits") && !(entry.contains("k_bits") && entry.contains("v_bits"))) {
    refuse("'bits' is missing", where);
  }
  constexpr std::array<std::array<const char*, 2>, 4> kNames = {{{"bits", "bits"},
                                                                 {"k_bits", "key-bits"},
                                                                 {"v_bits", "value-bits"},
                                                                 {"group_size", "group"}}};
  Json options = Json::object();
  config.label = config.scheme;
  for (const auto& [key, option] : kNames) {
    if (!entry.contains(key)) continue;
    const int value = integer(entry, key, where);
    options[option] = value;
    config.label += fmt::format("{}{}={}", options.size() == 1 ? ':' : ',', option, value);
  }
  config.options = OptionInput::from_json(options);
  return config;
}

}  // namespace

std::vector<KvLayerConfig> read_kv_config(const std::filesystem::path& path) {
  const std::string origin = printable(path.string());
  const Json file = read_json_file(path);
  if (!file.is_array()) refuse("the file is not a list of layers", origin);
  if (file.empty()) refuse("the file names no layer", origin);
  std::vector<KvLayerConfig> layers;
  std::set<int> seen;
  for (const Json& entry : file) {
    layers.push_back(read_layer(entry, layers.size(), origin));
    if (!seen.insert(layers.back().layer).second) {
      refuse("the layer stands there twice",
             fmt::format("{}, layer {}", origin, layers.back().layer));
    }
  }
  return layers;
}

std::vector<std::shared_ptr<const KvStrategy>> kv_strategies(
    const std::vector<KvLayerConfig>& config, const WeightStore& weights,
    const KvStrategySource& source, const std::string& origin) {
  const auto& caches = weights.kv_caches();
  std::vector<std::shared_ptr<const KvStrategy>> strategies(caches.size());
  std::map<std::string, std::shared_ptr<const KvStrategy>> made;
  for (const KvLayerConfig& layer : config) {
    const std::string where = fmt::format("{}, layer {}", printable(origin), layer.layer);
    auto& strategy = made[layer.label];
    bool is_found = false;
    for (std::size_t i = 0; i < caches.size(); ++i) {
      if (caches[i].block != layer.layer) continue;
      is_found = true;
      try {
        if (!strategy) strategy = source(layer.scheme, layer.options);
      } catch (const Error& error) {
        // A strategy that is not installed stays that; everything else is the file's fault.
        const bool is_plugin = error.code() == ErrorCode::plugin;
        throw Error(is_plugin ? error.code() : ErrorCode::bad_input, error.message(), where,
                    error.hint());
      }
      strategies[i] = strategy;
    }
    if (!is_found) {
      throw Error(ErrorCode::bad_input, "the model keeps no keys and values there", where,
                  fmt::format("name blocks that have a cache of their own, of {} caches in all",
                              caches.size()));
    }
  }
  return strategies;
}

}  // namespace quiver
