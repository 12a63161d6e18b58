// config.json of a quantized folder.
#include <nlohmann/json.hpp>
#include <quiver/converted_config.hpp>
#include <quiver/error.hpp>

#include "core/plugin/call_plugin.hpp"
#include "core/quantize/folder_plan.hpp"

namespace quiver {
namespace {

nlohmann::json quantization(const QuantizedFolder& folder, const FolderPlan& plan) {
  nlohmann::json table = nlohmann::json::object();
  for (std::size_t i = 0; i < folder.layers.size(); ++i) {
    const LayerFormat format = written_format(plan.layers[i], plan.formats[i]);
    if (format.bits == 0) continue;
    table[plan.layers[i].name] = {{"bits", format.bits}, {"group_size", format.group_size}};
  }
  if (table.empty()) return table;
  // What most layers have stands for the model: readers that know no entries of layers go by it.
  table["bits"] = plan.usual.bits;
  table["group_size"] = plan.usual.group_size;
  table["mode"] = folder.encoder.scheme->name();
  return table;
}

/// What the architecture wants to be told of the sidecars.
class SidecarRecords {
 public:
  SidecarRecords(const QuantizedFolder& folder, const FolderPlan& plan) {
    packed_.reserve(plan.files.size());
    for (const PlannedFile& file : plan.files) {
      if (file.sidecar == nullptr) continue;
      ConvertedSidecar record{file.sidecar, file.name, {0, 0}, folder.encoder.scheme->name(), {}};
      std::vector<std::string_view>& packed = packed_.emplace_back();
      for (std::size_t i = folder.layers.size(); i < plan.layers.size(); ++i) {
        const QuantizableLayer& layer = plan.layers[i];
        const LayerFormat format = written_format(plan.layers[i], plan.formats[i]);
        if (format.bits == 0 || !matches(file.sidecar->tensors, layer.name + ".weight")) continue;
        packed.push_back(layer.name);
        record.format = {format.bits, format.group_size};
      }
      record.packed = packed;
      records_.push_back(record);
    }
  }

  std::span<const ConvertedSidecar> records() const { return records_; }

 private:
  std::vector<std::vector<std::string_view>> packed_;
  std::vector<ConvertedSidecar> records_;
};

/// What the architecture has in place of some values.
nlohmann::json changes(const QuantizedFolder& folder, const FolderPlan& plan) {
  const ArchitectureOffer& offer = folder.source.architecture();
  const void* found = offer.architecture->extension(ConvertedConfig::kInterfaceId);
  if (found == nullptr) return nlohmann::json::object();
  const SidecarRecords sidecars(folder, plan);
  std::string text;
  call_plugin(offer.plugin, "changing config.json", [&] {
    text = static_cast<const ConvertedConfig*>(found)->changes(offer.offer, folder.source.config(),
                                                               sidecars.records());
  });
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_object()) return json;
  throw Error(ErrorCode::plugin, "the changes to config.json are no JSON object", offer.plugin,
              "report this to the plugin's author");
}

}  // namespace

nlohmann::json quantized_config(const QuantizedFolder& folder) {
  const FolderPlan plan = plan_folder(folder);
  nlohmann::json config = folder.source.config().json();
  for (const char* key : {"quantization", "quantization_config", "_name_or_path"}) {
    config.erase(key);
  }
  if (folder.strips_modalities) {
    for (const char* key : {"vision_config", "audio_config"}) config.erase(key);
  }
  const nlohmann::json table = quantization(folder, plan);
  if (!table.empty()) {
    config["quantization"] = table;
    config["quantization_config"] = table;
  }
  config.merge_patch(changes(folder, plan));
  return config;
}

}  // namespace quiver
