// A model folder with layers quantized anew, in the layout of MLX.
#include "core/quantize/quantized_folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <set>

#include "core/model/json_file.hpp"
#include "core/plugin/sha256.hpp"
#include "core/quantize/folder_plan.hpp"
#include "core/tensor/atomic_file.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors_writer.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

/// Adds `added` to each value, in float32, rounded to the type again.
void add_to_values(DType type, std::span<std::byte> bytes, int added) {
  std::vector<float> values(bytes.size() / size_bytes(type));
  decode_floats(type, bytes.data(), values.size(), values.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = values[i] + static_cast<float>(added);
    const std::uint16_t half = type == DType::f16 ? f32_to_f16(value) : f32_to_bf16(value);
    if (type == DType::f32) {
      std::memcpy(bytes.data() + i * sizeof(value), &value, sizeof(value));
    } else {
      std::memcpy(bytes.data() + i * sizeof(half), &half, sizeof(half));
    }
  }
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
      : folder_(folder),
        plan_(plan_folder(folder)),
        out_(out),
        threads_(threads),
        progress_(progress) {}

  WrittenFolder write() {
    for (const PlannedFile& file : plan_.files) total_ += file.size_bytes();
    nlohmann::json map = nlohmann::json::object();
    for (const PlannedFile& file : plan_.files) {
      std::vector<WrittenTensor> tensors = write_file(file);
      if (file.sidecar != nullptr) {
        result_.sidecar_bytes += file.size_bytes();
        result_.sidecars.push_back({file.name, std::move(tensors)});
        continue;
      }
      result_.bytes += file.size_bytes();
      for (WrittenTensor& tensor : tensors) {
        map[tensor.info.name] = file.name;
        result_.tensors.push_back(std::move(tensor));
      }
    }
    write_json_file(out_ / "model.safetensors.index.json",
                    {{"metadata",
                      {{"total_size", result_.bytes},
                       {"total_parameters", parameter_count(folder_.source, folder_.layers)}}},
                     {"weight_map", map}});
    return std::move(result_);
  }

 private:
  std::vector<WrittenTensor> write_file(const PlannedFile& file) {
    std::vector<TensorInfo> infos;
    for (const PlannedTensor& tensor : file.tensors) infos.push_back(tensor.info);
    const fs::path path = out_ / file.name;
    fs::create_directories(path.parent_path());
    SafetensorsWriter writer(path, infos, {{"format", "mlx"}});
    std::vector<WrittenTensor> written;
    const std::span<const PlannedTensor> tensors = file.tensors;
    for (std::size_t i = 0; i < tensors.size();) {
      if (tensors[i].copied != nullptr) {
        written.push_back(copy(writer, tensors[i++]));
      } else {
        i += encode(writer, tensors.subspan(i), written);
      }
    }
    writer.commit();
    return written;
  }

  WrittenTensor copy(SafetensorsWriter& writer, const PlannedTensor& tensor) {
    constexpr std::size_t kPiece = std::size_t{64} << 20U;
    TensorStream stream(writer, tensor.info);
    std::vector<std::byte> changed;
    for (const auto& part : tensor.copied->parts()) {
      for (std::size_t at = 0; at < part.size(); at += kPiece) {
        std::span<const std::byte> bytes = part.subspan(at, std::min(kPiece, part.size() - at));
        if (tensor.added != 0) {
          changed.assign(bytes.begin(), bytes.end());
          add_to_values(tensor.info.dtype, changed, tensor.added);
          bytes = changed;
        }
        stream.write(bytes);
        done(bytes.size());
      }
      folder_.source.checkpoint()->release(part);
    }
    return stream.finish();
  }

  /// Encodes the layer whose parts stand first; returns their number.
  std::size_t encode(SafetensorsWriter& writer, std::span<const PlannedTensor> tensors,
                     std::vector<WrittenTensor>& written) {
    const std::size_t index = tensors[0].layer;
    const QuantizableLayer& layer = plan_.layers[index];
    const LayerFormat& format = plan_.formats[index];
    const EncodedMatrix encoded(*layer.matrix, layer.name, {format.bits, format.group_size},
                                folder_.encoder, layer.importance, threads_);
    const auto count = static_cast<std::size_t>(encoded.matrix().part_count);
    for (std::size_t part = 0; part < count; ++part) {
      TensorStream stream(writer, tensors[part].info);
      stream.write(encoded.matrix().parts[part]);
      written.push_back(stream.finish());
      done(encoded.matrix().parts[part].size());
    }
    return count;
  }

  void done(std::uint64_t bytes) {
    done_ += bytes;
    if (progress_ && !progress_(done_, total_)) {
      throw Error(ErrorCode::interrupted, "interrupted");
    }
  }

  const QuantizedFolder& folder_;
  const FolderPlan plan_;
  const fs::path& out_;
  ThreadPool& threads_;
  const WriteProgress& progress_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
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
  std::set<std::string> held;
  for (const QuantizableLayer& layer : layers) {
    for (std::string& name : stored_names(layer)) held.insert(std::move(name));
  }
  FixedSize size;
  for (const std::string& name : model.checkpoint()->names()) {
    if (held.contains(name) || sidecar_of(model, name) != nullptr) continue;
    const ModelTensor& tensor = *model.checkpoint()->find(name);
    size.bytes += tensor.size_bytes();
    size.parameters += static_cast<std::uint64_t>(tensor.elements());
  }
  return size;
}

std::uint64_t sidecar_size(const QuantizedFolder& folder) {
  std::uint64_t bytes = 0;
  for (const PlannedFile& file : plan_folder(folder).files) {
    if (file.sidecar != nullptr) bytes += file.size_bytes();
  }
  return bytes;
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
