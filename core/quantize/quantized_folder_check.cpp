// Reads a quantized folder back and compares it with what was to be written.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <quiver/error.hpp>

#include "core/model/json_file.hpp"
#include "core/plugin/sha256.hpp"
#include "core/quantize/folder_plan.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_set.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void disagree(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::internal, what, where,
              "the disk or the program is at fault; nothing was kept");
}

void verify_tensors(std::span<const WrittenTensor> written, const SafetensorsSet& files) {
  if (files.tensors().size() != written.size()) {
    disagree(fmt::format("{} tensors were written, {} read back", written.size(),
                         files.tensors().size()),
             files.label());
  }
  for (const WrittenTensor& tensor : written) {
    const TensorView* found = files.find(tensor.info.name);
    if (found == nullptr || found->dtype != tensor.info.dtype ||
        found->shape != tensor.info.shape) {
      disagree("a tensor read back has another type or shape than the one written",
               printable(tensor.info.name));
    }
    Sha256 sum;
    sum.add(found->data);
    if (sum.finish() != tensor.sha256) {
      disagree("a tensor read back differs from the one written", printable(tensor.info.name));
    }
    files.release(*found);
  }
}

/// The format that an entry of config.json or of the metadata states.
std::optional<LayerFormat> stated(const nlohmann::json& table, const std::string& name) {
  const auto entry = table.find(name);
  if (entry == table.end() || !entry->is_object()) return std::nullopt;
  return LayerFormat{entry->value("bits", 0), entry->value("group_size", 0)};
}

/// Whether the codes are as wide as their bits say.
void verify_shape(const QuantizedFolder& folder, const QuantizableLayer& layer,
                  const LayerFormat& format, const SafetensorsSet& files) {
  const auto packed = folder.encoder.scheme->packed_format({format.bits, format.group_size});
  if (packed != PackedFormat::affine) return;
  const TensorView* codes = files.find(layer.name + ".weight");
  if (codes == nullptr || codes->dtype != DType::u32 ||
      codes->columns() * 32 != layer.matrix->columns * format.bits) {
    disagree("the shape of a tensor contradicts its bits", layer.name);
  }
}

void verify_formats(const QuantizedFolder& folder, const fs::path& out,
                    const SafetensorsSet& files) {
  const nlohmann::json config = read_json_file(out / "config.json");
  const nlohmann::json metadata = read_json_file(out / "optiq_metadata.json");
  // Where every layer is kept there is none of the two.
  const nlohmann::json quantization = config.value("quantization", nlohmann::json::object());
  if (quantization != config.value("quantization_config", nlohmann::json::object())) {
    disagree("quantization and quantization_config differ", "config.json");
  }
  for (std::size_t i = 0; i < folder.layers.size(); ++i) {
    const QuantizableLayer& layer = folder.layers[i];
    const LayerFormat& format = folder.formats[i];
    if (format.bits == kKeepBits) continue;
    for (const auto& [table, file] :
         {std::pair{&quantization, "config.json"},
          std::pair{&metadata.at("per_layer"), "optiq_metadata.json"}}) {
      const auto entry = stated(*table, layer.name);
      if (!entry || entry->bits != format.bits || entry->group_size != format.group_size) {
        disagree(fmt::format("{} does not say that {} has {} bits in groups of {}", file,
                             layer.name, format.bits, format.group_size),
                 file);
      }
    }
    verify_shape(folder, layer, format, files);
  }
}

/// The files beside the weights: their tensors, and the shapes of what was packed anew.
void verify_sidecars(const QuantizedFolder& folder, const WrittenFolder& written,
                     const fs::path& out) {
  if (written.sidecars.empty()) return;
  const FolderPlan plan = plan_folder(folder);
  for (const WrittenSidecar& sidecar : written.sidecars) {
    std::vector<SafetensorsFile> opened;
    opened.push_back(SafetensorsFile::open(out / sidecar.file));
    const SafetensorsSet files = SafetensorsSet::join(std::move(opened), sidecar.file);
    verify_tensors(sidecar.tensors, files);
    for (std::size_t i = folder.layers.size(); i < plan.layers.size(); ++i) {
      const QuantizableLayer& layer = plan.layers[i];
      if (plan.formats[i].bits == kKeepBits || files.find(layer.name + ".weight") == nullptr) {
        continue;
      }
      verify_shape(folder, layer, plan.formats[i], files);
    }
  }
}

}  // namespace

void verify_quantized_folder(const QuantizedFolder& folder, const WrittenFolder& written,
                             const fs::path& out) {
  const SafetensorsSet files = SafetensorsSet::open(out);
  verify_tensors(written.tensors, files);
  verify_formats(folder, out, files);
  verify_sidecars(folder, written, out);
}

}  // namespace quiver
