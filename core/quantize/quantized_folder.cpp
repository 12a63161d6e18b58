// A model folder with layers quantized anew, in the layout of MLX.
#include "core/quantize/quantized_folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <set>

#include "core/model/checkpoint.hpp"
#include "core/model/json_file.hpp"
#include "core/plugin/sha256.hpp"
#include "core/tensor/atomic_file.hpp"
#include "core/tensor/safetensors_writer.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

/// What is written under one name.
struct Output {
  TensorInfo info;
  const TensorView* copied = nullptr;  ///< Of the source; nullptr for a part of a layer.
  std::size_t layer = 0;               ///< Where not copied.
  std::size_t part = 0;
};

std::uint64_t bytes_of(const TensorInfo& info) {
  std::uint64_t bytes = size_bytes(info.dtype);
  for (const std::int64_t size : info.shape) bytes *= static_cast<std::uint64_t>(size);
  return bytes;
}

/// Names under which a layer's matrix lies in the source.
std::vector<std::string> stored_names(const QuantizableLayer& layer) {
  const StoredMatrix& matrix = *layer.matrix;
  if (matrix.scheme == nullptr) return {layer.name + ".weight"};
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  const int count = matrix.scheme->parts(matrix.format, matrix.columns, matrix.dtype, parts);
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) {
    names.push_back(layer.name + parts[static_cast<std::size_t>(i)].suffix);
  }
  return names;
}

std::set<std::string> names_of_layers(std::span<const QuantizableLayer> layers) {
  std::set<std::string> names;
  for (const QuantizableLayer& layer : layers) {
    for (std::string& name : stored_names(layer)) names.insert(std::move(name));
  }
  return names;
}

/// How MLX shapes what is copied: [channels, taps, 1] where it is a depthwise convolution, which
/// has the bytes of [channels, 1, taps].
std::vector<std::int64_t> written_shape(const std::set<std::string>& convolutions,
                                        const std::string& name, const TensorView& tensor) {
  if (!convolutions.contains(name)) return tensor.shape;
  return {tensor.shape[0], tensor.shape[1] * tensor.shape[2], 1};
}

/// The tensors of the new folder in their order: those of the source, a layer's new parts in place
/// of its old ones.
std::vector<Output> outputs_of(const QuantizedFolder& folder) {
  std::map<std::string, std::size_t> layer_of;
  for (std::size_t i = 0; i < folder.layers.size(); ++i) {
    if (folder.formats[i].bits == kKeepBits) continue;
    for (const std::string& name : stored_names(folder.layers[i])) layer_of.emplace(name, i);
  }
  std::set<std::string> convolutions;
  for (const CausalConvPart& part : folder.source.weights().causal_convs()) {
    convolutions.insert(part.name + ".weight");
  }
  const Checkpoint& checkpoint = *folder.source.checkpoint();
  std::vector<Output> outputs;
  std::set<std::size_t> seen;
  for (const std::string& name : checkpoint.names()) {
    const auto found = layer_of.find(name);
    if (found == layer_of.end()) {
      const TensorView* tensor = checkpoint.find(name);
      outputs.push_back(
          {{name, tensor->dtype, written_shape(convolutions, name, *tensor)}, tensor, 0, 0});
      continue;
    }
    if (!seen.insert(found->second).second) continue;
    const QuantizableLayer& layer = folder.layers[found->second];
    const LayerFormat& format = folder.formats[found->second];
    std::array<QuantPart, QuantScheme::kMaxParts> parts{};
    const int count = folder.encoder.scheme->parts(
        {format.bits, format.group_size}, layer.matrix->columns, layer.matrix->dtype, parts);
    for (int i = 0; i < count; ++i) {
      const QuantPart& part = parts[static_cast<std::size_t>(i)];
      outputs.push_back({{layer.name + part.suffix, part.dtype, {layer.matrix->rows, part.columns}},
                         nullptr,
                         found->second,
                         static_cast<std::size_t>(i)});
    }
  }
  return outputs;
}

/// Splits the outputs into files; a layer's parts stay together.
std::vector<std::span<const Output>> shards_of(std::span<const Output> outputs,
                                               std::uint64_t limit) {
  std::vector<std::span<const Output>> shards;
  std::size_t first = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < outputs.size();) {
    std::size_t end = i + 1;
    std::uint64_t unit = bytes_of(outputs[i].info);
    while (end < outputs.size() && outputs[end].copied == nullptr && outputs[i].copied == nullptr &&
           outputs[end].layer == outputs[i].layer) {
      unit += bytes_of(outputs[end++].info);
    }
    if (bytes > 0 && bytes + unit > limit) {
      shards.push_back(outputs.subspan(first, i - first));
      first = i;
      bytes = 0;
    }
    bytes += unit;
    i = end;
  }
  if (first < outputs.size()) shards.push_back(outputs.subspan(first));
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  return count == 1 ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

/// Writes pieces of a tensor and sums them up.
class TensorStream {
 public:
  TensorStream(SafetensorsWriter& writer, const TensorInfo& info) : writer_(writer), info_(info) {}
  void write(std::span<const std::byte> bytes) {
    writer_.write(info_.name, bytes);
    sum_.add(bytes);
  }
  WrittenTensor finish() { return {info_, sum_.finish()}; }

 private:
  SafetensorsWriter& writer_;
  const TensorInfo& info_;
  Sha256 sum_;
};

class FolderWriter {
 public:
  FolderWriter(const QuantizedFolder& folder, const fs::path& out, ThreadPool& threads,
               const WriteProgress& progress)
      : folder_(folder), out_(out), threads_(threads), progress_(progress) {}

  WrittenFolder write() {
    const std::vector<Output> outputs = outputs_of(folder_);
    for (const Output& output : outputs) total_ += bytes_of(output.info);
    const auto shards = shards_of(outputs, folder_.shard_limit);
    nlohmann::json map = nlohmann::json::object();
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string name = shard_name(i, shards.size());
      write_shard(shards[i], out_ / name);
      for (const Output& output : shards[i]) map[output.info.name] = name;
    }
    write_json_file(out_ / "model.safetensors.index.json",
                    {{"metadata",
                      {{"total_size", result_.bytes},
                       {"total_parameters", parameter_count(folder_.source, folder_.layers)}}},
                     {"weight_map", map}});
    return std::move(result_);
  }

 private:
  void write_shard(std::span<const Output> outputs, const fs::path& path) {
    std::vector<TensorInfo> infos;
    for (const Output& output : outputs) infos.push_back(output.info);
    SafetensorsWriter writer(path, infos, {{"format", "mlx"}});
    for (std::size_t i = 0; i < outputs.size();) {
      if (outputs[i].copied != nullptr) {
        copy(writer, outputs[i++]);
      } else {
        i += encode(writer, outputs.subspan(i));
      }
    }
    writer.commit();
  }

  void copy(SafetensorsWriter& writer, const Output& output) {
    constexpr std::size_t kPiece = std::size_t{64} << 20U;
    TensorStream stream(writer, output.info);
    const auto data = output.copied->data;
    for (std::size_t at = 0; at < data.size(); at += kPiece) {
      stream.write(data.subspan(at, std::min(kPiece, data.size() - at)));
      done(std::min(kPiece, data.size() - at));
    }
    result_.tensors.push_back(stream.finish());
    folder_.source.checkpoint()->release(data);
  }

  /// Encodes the layer whose parts stand first; returns their number.
  std::size_t encode(SafetensorsWriter& writer, std::span<const Output> outputs) {
    const std::size_t index = outputs[0].layer;
    const QuantizableLayer& layer = folder_.layers[index];
    const LayerFormat& format = folder_.formats[index];
    const EncodedMatrix encoded(*layer.matrix, layer.name, {format.bits, format.group_size},
                                folder_.encoder, layer.importance, threads_);
    const auto count = static_cast<std::size_t>(encoded.matrix().part_count);
    for (std::size_t part = 0; part < count; ++part) {
      TensorStream stream(writer, outputs[part].info);
      stream.write(encoded.matrix().parts[part]);
      result_.tensors.push_back(stream.finish());
      done(encoded.matrix().parts[part].size());
    }
    return count;
  }

  void done(std::uint64_t bytes) {
    result_.bytes += bytes;
    if (progress_ && !progress_(result_.bytes, total_)) {
      throw Error(ErrorCode::interrupted, "interrupted");
    }
  }

  const QuantizedFolder& folder_;
  const fs::path& out_;
  ThreadPool& threads_;
  const WriteProgress& progress_;
  std::uint64_t total_ = 0;
  WrittenFolder result_;
};

/// Whether a file of the source folder belongs to the new one too: tokenizer, templates, licence.
bool is_companion(const fs::path& file) {
  const std::string name = file.filename().string();
  static const std::set<std::string> kNames{"tokenizer.json",
                                            "tokenizer_config.json",
                                            "special_tokens_map.json",
                                            "added_tokens.json",
                                            "chat_template.jinja",
                                            "chat_template.json",
                                            "vocab.json",
                                            "vocab.txt",
                                            "merges.txt",
                                            "tokenizer.model",
                                            "generation_config.json",
                                            "preprocessor_config.json",
                                            "processor_config.json",
                                            "video_preprocessor_config.json"};
  return kNames.contains(name) || name.starts_with("LICENSE") || name.starts_with("NOTICE");
}

void copy_companions(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(from, error)) {
    if (!is_companion(entry.path()) || !entry.is_regular_file(error)) continue;
    const std::string content = read_small_file(entry.path(), std::size_t{1} << 30U);
    write_file(to / entry.path().filename(), std::as_bytes(std::span(content)));
  }
}

}  // namespace

std::uint64_t parameter_count(const LoadedModel& model, std::span<const QuantizableLayer> layers) {
  std::uint64_t count = fixed_size(model, layers).parameters;
  for (const QuantizableLayer& layer : layers) {
    count += static_cast<std::uint64_t>(layer.parameters());
  }
  return count;
}

FixedSize fixed_size(const LoadedModel& model, std::span<const QuantizableLayer> layers) {
  const auto held = names_of_layers(layers);
  FixedSize size;
  for (const std::string& name : model.checkpoint()->names()) {
    if (held.contains(name)) continue;
    const TensorView& tensor = *model.checkpoint()->find(name);
    size.bytes += tensor.data.size();
    size.parameters += static_cast<std::uint64_t>(tensor.elements());
  }
  return size;
}

nlohmann::json quantized_config(const QuantizedFolder& folder) {
  nlohmann::json config = folder.source.config().json();
  for (const char* key : {"quantization", "quantization_config", "_name_or_path"}) {
    config.erase(key);
  }
  if (folder.strips_modalities) {
    for (const char* key : {"vision_config", "audio_config"}) config.erase(key);
  }
  // What most layers have stands for the model: readers that know no entries of layers go by it.
  std::map<std::pair<int, int>, int> counts;
  nlohmann::json table = nlohmann::json::object();
  for (std::size_t i = 0; i < folder.layers.size(); ++i) {
    const StoredMatrix& matrix = *folder.layers[i].matrix;
    LayerFormat format = folder.formats[i];
    if (format.bits == kKeepBits && matrix.scheme != nullptr) {
      format = {matrix.format.bits, matrix.format.group_size};
    }
    if (format.bits == kKeepBits) continue;
    ++counts[{format.bits, format.group_size}];
    table[folder.layers[i].name] = {{"bits", format.bits}, {"group_size", format.group_size}};
  }
  if (counts.empty()) return config;
  const auto most = std::ranges::max_element(counts, {}, [](const auto& e) { return e.second; });
  table["bits"] = most->first.first;
  table["group_size"] = most->first.second;
  table["mode"] = folder.encoder.scheme->name();
  config["quantization"] = table;
  config["quantization_config"] = table;
  return config;
}

WrittenFolder write_quantized_folder(const QuantizedFolder& folder, const fs::path& out,
                                     ThreadPool& threads, const WriteProgress& progress) {
  WrittenFolder written = FolderWriter(folder, out, threads, progress).write();
  write_json_file(out / "config.json", quantized_config(folder));
  copy_companions(folder.source.folder(), out);
  return written;
}

void write_json_file(const fs::path& path, const nlohmann::json& json) {
  const std::string text = json.dump(4) + "\n";
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace quiver
