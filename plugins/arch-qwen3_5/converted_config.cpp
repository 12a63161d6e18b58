// What a converted Qwen3.5 folder says of itself and its draft head.
#include "converted_config.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace quiver::qwen3_5 {
namespace {

constexpr const char* kHeadLayers = "mtp_num_hidden_layers";

std::string quoted(std::string_view text) {
  return '"' + std::string(text) + '"';
}

using Members = std::initializer_list<std::pair<const char*, std::string>>;

/// Members of an object whose values are JSON; those without a value are left out.
std::string object(Members members) {
  std::string json = "{";
  for (const auto& [key, value] : members) {
    if (value.empty()) continue;
    if (json.size() > 1) json += ',';
    json += quoted(key) + ':' + value;
  }
  return json + '}';
}

/// How the head's matrices are packed; null where they are not. "cyankiwi" is what readers call a
/// head of which all matrices but the one that joins its inputs are.
std::string head_quantization(const ConvertedSidecar& head) {
  if (head.format.bits == 0) return "null";
  const bool is_all = std::ranges::find(head.packed, "mtp.fc") != head.packed.end();
  return object({{"bits", std::to_string(head.format.bits)},
                 {"group_size", std::to_string(head.format.group_size)},
                 {"mode", quoted(head.scheme)},
                 {"policy", quoted(is_all ? "all" : "cyankiwi")},
                 {"prequantized", "true"}});
}

/// The number of the head's layers where the config does not say it; the family's heads have one.
std::string head_layers(const Config& config, const std::string& prefix) {
  return config.integer_or(prefix + kHeadLayers, 0, 0) > 0 ? "" : "1";
}

}  // namespace

std::string converted_config(const Config& config, std::span<const ConvertedSidecar> sidecars) {
  constexpr std::string_view kTextOnly = "_text";
  std::string type = config.text("model_type");
  if (type.ends_with(kTextOnly)) type.resize(type.size() - kTextOnly.size());
  if (sidecars.empty()) return object({{"model_type", quoted(type)}});
  const ConvertedSidecar& head = sidecars.front();
  // Some readers look into the text model's part alone, where there is one.
  const std::string nested = config.has("text_config") ? head_layers(config, "text_config.") : "";
  return object({{"model_type", quoted(type)},
                 {"mtp_file", quoted(head.file)},
                 {"mlx_lm_extra_tensors", object({{"mtp_file", quoted(head.file)}})},
                 {"mtplx_mtp_quantization", head_quantization(head)},
                 {kHeadLayers, head_layers(config, "")},
                 {"text_config", nested.empty() ? "" : object({{kHeadLayers, nested}})}});
}

}  // namespace quiver::qwen3_5
