// What a conversion writes about itself, and what its checkpoint is recognized by.
#include "core/quantize/convert_records.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "core/model/checkpoint.hpp"
#include "core/model/role_name.hpp"
#include "core/plugin/sha256.hpp"

namespace quiver {

nlohmann::json model_record(const LoadedModel& model) {
  constexpr std::size_t kPiece = 4096;
  Sha256 tensors;
  const auto add = [&](std::string_view text) {
    tensors.add(std::as_bytes(std::span(text)));
    tensors.add(std::as_bytes(std::span("\n", 1)));
  };
  for (const std::string& name : model.checkpoint()->names()) {
    const ModelTensor& tensor = *model.checkpoint()->find(name);
    add(name);
    add(dtype_name(tensor.dtype));
    add(shape_text(tensor.shape));
    for (const auto& part : tensor.parts()) {
      const std::size_t piece = std::min(kPiece, part.size());
      tensors.add(part.first(piece));
      tensors.add(part.last(piece));
    }
  }
  return {{"config", sha256_hex(model.config().json().dump())}, {"weights", tensors.finish()}};
}

nlohmann::json texts_record(std::span<const CalibrationInput> texts) {
  nlohmann::json record = nlohmann::json::array();
  for (const CalibrationInput& text : texts) {
    const Visibility& visibility = text.visibility;
    if (visibility == Visibility{}) {
      record.push_back(text.tokens);
      continue;
    }
    record.push_back({{"tokens", text.tokens},
                      {"visibility", static_cast<std::uint32_t>(visibility.kind)},
                      {"block_length", visibility.block_length}});
  }
  return sha256_hex(record.dump());
}

nlohmann::json metadata(const Conversion& conversion, const ConvertOptions& options) {
  nlohmann::json layers = nlohmann::json::object();
  std::set<int> widths;
  for (const ConvertedLayer& layer : conversion.layers) {
    if (layer.format.bits == kKeepBits) continue;
    layers[layer.name] = {{"bits", layer.format.bits}, {"group_size", layer.format.group_size}};
    widths.insert(layer.format.bits);
  }
  const auto count = [&](auto is_counted) {
    return std::ranges::count_if(conversion.layers, [&](const ConvertedLayer& layer) {
      return layer.format.bits != kKeepBits && is_counted(layer.format.bits);
    });
  };
  const int lowest = widths.empty() ? 0 : *widths.begin();
  return {{"method", options.method == ConvertMethod::measured ? "optiq_mixed_precision"
                                                               : "static_mixed_precision"},
          {"base_model", options.base_model},
          {"reference", conversion.reference},
          {"target_bpw", options.target_bpw},
          {"achieved_bpw", conversion.bpw_linear},
          {"bpw_true", conversion.bpw_true},
          {"bytes", conversion.bytes},
          {"encoder", options.encoder_name},
          {"n_low_bits", count([&](int bits) { return bits == lowest; })},
          {"n_high_bits", count([&](int bits) { return bits != lowest; })},
          {"threshold", 0.0},
          {"per_layer", layers}};
}

nlohmann::json sensitivity_record(const Conversion& conversion, const ConvertOptions& options,
                                  const FixedSize& fixed) {
  nlohmann::json layers = nlohmann::json::array();
  for (const ConvertedLayer& layer : conversion.layers) {
    if (layer.kl.empty()) continue;
    nlohmann::json widths = nlohmann::json::object();
    for (const auto& [bits, kl] : layer.kl) widths[std::to_string(bits)] = kl;
    const std::int64_t parameters = layer.rows * layer.columns;
    layers.push_back({{"name", layer.name},
                      {"layer_name", layer.name},
                      {"role", role_name(layer.role)},
                      {"block", layer.block},
                      {"parameters", parameters},
                      {"param_count", parameters},
                      {"group_size",
                       layer.format.group_size != 0 ? layer.format.group_size : options.group_size},
                      {"kl", widths},
                      {"sensitivities", widths},
                      {"metadata", nlohmann::json::object()}});
  }
  return {
      {"layers", layers},
      {"base_model", options.base_model},
      {"candidate_bits", options.bits},
      {"group_size", options.group_size},
      {"metric", options.sensitivity == ConvertSensitivity::exact ? "kl_divergence_vs_reference"
                                                                  : "weighted_error_of_weights"},
      {"reference", conversion.reference},
      {"fixed", {{"bytes", fixed.bytes}, {"parameters", fixed.parameters}}}};
}

}  // namespace quiver
