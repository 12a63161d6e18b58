// Packed KV strategies for tests, from the plugins built beside them.
#pragma once

#include <memory>
#include <string_view>

#include "core/plugin/options.hpp"
#include "tests/support/load_plugin.hpp"

namespace quiver::test {

/// A strategy of the plugin "kv-<name>".
inline std::shared_ptr<const KvStrategy> packed_kv(std::string_view name,
                                                   const OptionInput& options) {
  const auto& factory = load_plugin<KvStrategyFactory>("kv-" + std::string(name));
  return std::shared_ptr<const KvStrategy>(
      factory.create(name, options.read(std::string(name), factory.options(name))));
}

inline std::shared_ptr<const KvStrategy> affine_kv(int key_bits, int value_bits) {
  return packed_kv("affine", OptionInput::from_text("key-bits=" + std::to_string(key_bits) +
                                                    ",value-bits=" + std::to_string(value_bits)));
}

inline std::shared_ptr<const KvStrategy> turboquant_kv(int bits) {
  return packed_kv("turboquant", OptionInput::from_text("bits=" + std::to_string(bits)));
}

}  // namespace quiver::test
