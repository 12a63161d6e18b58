// A detector's folder with kernels quantized, in the layout of the reference package.
#include "core/quantize/detector_folder.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <quiver/written_names.hpp>
#include <set>

#include "core/model/checkpoint.hpp"
#include "core/model/tensor_rules.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "core/tensor/safetensors_writer.hpp"

namespace quiver {
namespace {

/// A tensor with its bytes, which lie in the source or in an encoded matrix.
struct Output {
  TensorInfo info;
  std::span<const std::byte> bytes;
};

std::vector<std::int64_t> kernel_shape(const Conv2dPart& part) {
  return {part.outputs, part.kernel, part.kernel, part.is_depthwise ? 1 : part.inputs};
}

/// The three tensors of a quantized kernel.
void add_quantized(const StoredMatrix& matrix, const std::string& name,
                   std::vector<Output>& outputs) {
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  const int count = matrix.scheme->parts(matrix.format, matrix.columns, matrix.dtype, parts);
  for (int i = 0; i < count; ++i) {
    const QuantPart& part = parts[static_cast<std::size_t>(i)];
    const std::string suffix = part.suffix;
    const std::string full = name + (suffix == ".weight" ? ".data" : suffix);
    outputs.push_back({{full, part.dtype, {matrix.rows, part.columns}},
                       matrix.parts[static_cast<std::size_t>(i)]});
  }
}

std::vector<Output> list_outputs(const LoadedModel& model, std::span<const WrittenKernel> kernels) {
  std::vector<Output> outputs;
  std::set<std::string> kernel_names;
  for (const WrittenKernel& kernel : kernels) {
    const Conv2dPart& part = model.weights().images()[kernel.conv];
    const std::string name = part.name + ".weight";
    for (const char* suffix : {"", ".data", ".scales", ".biases"}) {
      kernel_names.insert(name + suffix);
    }
    const StoredMatrix& matrix = kernel.encoded != nullptr ? kernel.encoded->matrix() : part.matrix;
    const std::string written = written_name(model, name);
    if (matrix.scheme != nullptr) {
      add_quantized(matrix, written, outputs);
    } else {
      outputs.push_back({{written, matrix.dtype, kernel_shape(part)}, matrix.dense});
    }
  }
  for (const std::string& name : model.checkpoint()->names()) {
    if (kernel_names.contains(name)) continue;
    const TensorView& tensor = *model.checkpoint()->find(name);
    outputs.push_back({{written_name(model, name), tensor.dtype, tensor.shape}, tensor.data});
  }
  // Readers that use tensors in place want larger elements first.
  std::ranges::stable_sort(outputs, std::ranges::greater(),
                           [](const Output& output) { return size_bytes(output.info.dtype); });
  return outputs;
}

nlohmann::json detector_config(const LoadedModel& model, std::span<const WrittenKernel> kernels,
                               int group_size) {
  nlohmann::json config = model.config().json();
  for (const char* key : {"allocation", "shapes", "flat_shape"}) {
    config[key] = nlohmann::json::object();
  }
  for (const WrittenKernel& kernel : kernels) {
    const Conv2dPart& part = model.weights().images()[kernel.conv];
    const StoredMatrix& matrix = kernel.encoded != nullptr ? kernel.encoded->matrix() : part.matrix;
    if (matrix.scheme == nullptr) continue;
    const std::string name = written_name(model, part.name + ".weight");
    config["allocation"][name] = matrix.format.bits;
    config["shapes"][name] = kernel_shape(part);
    config["flat_shape"][name] = {part.outputs, part.columns};
  }
  config["group_size"] = group_size;
  if (!config.contains("scale")) config["scale"] = "n";
  if (config.contains("weights")) config["weights"] = "weights.safetensors";
  return config;
}

}  // namespace

std::string written_name(const LoadedModel& model, const std::string& name) {
  const ArchitectureOffer& family = model.architecture();
  const void* names = family.architecture->extension(WrittenNames::kInterfaceId);
  if (names == nullptr) return name;
  const auto rules = static_cast<const WrittenNames*>(names)->written_names(family.offer);
  return apply_rules(rules, name, model.config()).name;
}

std::int64_t padded_columns(std::int64_t columns, int group_size) {
  return (columns + group_size - 1) / group_size * group_size;
}

std::vector<float> padded_kernel(const Conv2dPart& part, int group_size) {
  const auto stored = static_cast<std::size_t>(part.matrix.columns);
  const auto columns = static_cast<std::size_t>(part.columns);
  const auto padded = static_cast<std::size_t>(padded_columns(part.columns, group_size));
  std::vector<float> kernel(padded * static_cast<std::size_t>(part.outputs));
  std::vector<float> row(stored);
  for (std::size_t o = 0; o < static_cast<std::size_t>(part.outputs); ++o) {
    part.matrix.decode(static_cast<std::int64_t>(o), 1, row);
    std::copy_n(row.begin(), columns, kernel.begin() + static_cast<std::ptrdiff_t>(o * padded));
  }
  return kernel;
}

std::uint64_t write_detector_folder(const LoadedModel& model,
                                    std::span<const WrittenKernel> kernels, int group_size,
                                    const std::filesystem::path& out) {
  const std::vector<Output> outputs = list_outputs(model, kernels);
  std::vector<TensorInfo> infos;
  std::uint64_t bytes = 0;
  for (const Output& output : outputs) {
    infos.push_back(output.info);
    bytes += output.bytes.size();
  }
  SafetensorsWriter writer(out / "weights.safetensors", infos, {{"format", "mlx"}});
  for (const Output& output : outputs) writer.write(output.info.name, output.bytes);
  writer.commit();
  write_json_file(out / "config.json", detector_config(model, kernels, group_size));
  return bytes;
}

void verify_detector_folder(const LoadedModel& written, const LoadedModel& model,
                            std::span<const WrittenKernel> kernels) {
  const auto convs = written.weights().images().convs();
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const Conv2dPart& want = model.weights().images()[kernels[i].conv];
    const StoredMatrix& matrix =
        kernels[i].encoded != nullptr ? kernels[i].encoded->matrix() : want.matrix;
    bool agrees = i < convs.size() && convs[i].name == want.name && convs[i].bias == want.bias &&
                  convs[i].scale == want.scale && convs[i].matrix.part_count == matrix.part_count &&
                  convs[i].matrix.format.bits == matrix.format.bits &&
                  std::ranges::equal(convs[i].matrix.dense, matrix.dense);
    for (std::size_t p = 0; agrees && p < matrix.parts.size(); ++p) {
      agrees = std::ranges::equal(convs[i].matrix.parts[p], matrix.parts[p]);
    }
    if (agrees) continue;
    throw Error(ErrorCode::internal, "what was written reads back otherwise", want.name,
                "check the disk, and report this");
  }
}

}  // namespace quiver
