// Fuzzes the config reader and an architecture's use of it, on a bare config without tensors.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/model/model_config.hpp"
#include "core/model/weight_store.hpp"
#include "plugins/arch-llama/llama.hpp"
#include "quiver/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 65536) return 0;
  try {
    const auto config = quiver::ModelConfig::parse(
        std::string_view(reinterpret_cast<const char*>(data), size), "config.json");
    quiver::WeightStore weights(nullptr, config, {});
    const quiver::llama::Llama model(config, weights);
  } catch (const quiver::Error&) {
    // Refusing is what a malformed config should lead to.
  }
  return 0;
}
