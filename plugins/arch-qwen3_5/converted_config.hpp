// What a converted Qwen3.5 folder says of itself and its draft head.
#pragma once

#include <quiver/converted_config.hpp>

#include <span>
#include <string>

namespace quiver::qwen3_5 {

/// Changes to config.json, as ConvertedConfig::changes: stock readers of the MLX layout know a text
/// model by the family's own type, and find the head by keys that their writers agreed on.
std::string converted_config(const Config& config, std::span<const ConvertedSidecar> sidecars);

}  // namespace quiver::qwen3_5
