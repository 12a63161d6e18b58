// A model folder with layers quantized anew, in the layout of MLX.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/quantize/encoded_matrix.hpp"
#include "core/quantize/sensitivity.hpp"
#include "core/tensor/tensor_view.hpp"

namespace quiver {

/// What a layer becomes.
struct LayerFormat {
  int bits = kKeepBits;  ///< kKeepBits: as it lies in the source.
  int group_size = 0;    ///< 0 for a kept one.
};

/// A tensor of the folder as it was written.
struct WrittenTensor {
  TensorInfo info;
  std::string sha256;  ///< Of its bytes.
};

/// A file beside the weights (Sidecar) as it was written.
struct WrittenSidecar {
  std::string file;  ///< In the folder.
  std::vector<WrittenTensor> tensors;
};

struct WrittenFolder {
  std::vector<WrittenTensor> tensors;  ///< Of the weights, in the order of the files.
  std::vector<WrittenSidecar> sidecars;
  std::uint64_t bytes = 0;          ///< Of the weights' tensors.
  std::uint64_t sidecar_bytes = 0;  ///< Of all others.
};

/// Progress in bytes of tensors; false ends with Error(interrupted).
using WriteProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// What makes up the new folder. Views; everything outlives the calls.
struct QuantizedFolder {
  const LoadedModel& source;
  std::span<const QuantizableLayer> layers;  ///< Of the source.
  std::span<const LayerFormat> formats;      ///< By layer.
  const MatrixEncoder& encoder;
  std::uint64_t shard_limit = std::uint64_t{5} << 30U;  ///< Bytes of tensors in one file.
  bool strips_modalities = false;  ///< config.json says nothing of images and sound.
};

/// Parameters of a model: elements of all its tensors before any quantization, but for those of
/// sidecars. [any-thread]
std::uint64_t parameter_count(const LoadedModel& model, std::span<const QuantizableLayer> layers);

/// Bytes of the tensors that neither a layer nor a sidecar holds, and their parameters.
struct FixedSize {
  std::uint64_t bytes = 0;
  std::uint64_t parameters = 0;
};
FixedSize fixed_size(const LoadedModel& model, std::span<const QuantizableLayer> layers);

/// Bytes of the tensors that go into sidecars, as they will be written. [any-thread]
std::uint64_t sidecar_size(const QuantizedFolder& folder);

/// config.json of the new folder: the source's with `quantization`, and `quantization_config` equal
/// to it, an entry per quantized layer; without vision_config and audio_config where those are
/// stripped; with what the architecture changes (ConvertedConfig). Throws Error(plugin) where that
/// is not JSON.
nlohmann::json quantized_config(const QuantizedFolder& folder);

/// Writes weights, index, sidecars, config.json, and copies of the source's tokenizer, templates
/// and generation config into the existing, empty folder `out`. Tensors are named as the
/// architecture takes them, which is the MLX layout's naming; those of a layer stand together, and
/// those whose values lie apart in the source are whole. Values are those that the source's rules
/// make of what it stores (norms with their one, rounded to the stored type), unless the new file's
/// rules make them again. What belongs to a sidecar goes into its first file, its matrices packed
/// in the format that most layers have. Throws Error naming the layer or the file.
WrittenFolder write_quantized_folder(const QuantizedFolder& folder,
                                     const std::filesystem::path& out, ThreadPool& threads,
                                     const WriteProgress& progress);

/// Reads the folder back and compares: every tensor's type, shape and bytes with what was written;
/// bits and groups of config.json, of `per_layer` in optiq_metadata.json and of the tensors' shapes
/// with the formats. Throws Error(internal) naming the first that disagrees.
void verify_quantized_folder(const QuantizedFolder& folder, const WrittenFolder& written,
                             const std::filesystem::path& out);

/// Writes indented JSON, keys in the order of the object, as a whole or not at all.
void write_json_file(const std::filesystem::path& path, const nlohmann::json& json);

}  // namespace quiver
