// GGUF files to model folders.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <quiver/dtype.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/loaded_model.hpp"

namespace quiver {

struct ImportOptions {
  /// Type of the weights that are floats in the folder: f32, f16 or bf16. Without it F32, F16 and
  /// BF16 stay what they are, and expanded blocks become f16.
  std::optional<DType> dtype;
  /// Q4_0, Q4_1 and Q8_0 matrices become affine groups of 32, exactly, in place of floats.
  bool keep_quantized = false;
  /// A model folder that exists is replaced.
  bool force = false;
  /// Most bytes of tensors in one file; a larger tensor gets a file of its own.
  std::uint64_t shard_bytes = std::uint64_t{5} << 30U;
};

struct ImportReport {
  std::string model_type;
  std::string architecture_plugin;  ///< Name of the plugin whose tables were used.
  int tensors = 0;                  ///< Tensors of the file that were taken.
  int kept_quantized = 0;           ///< Those of them that stayed quantized.
  std::uint64_t bytes = 0;          ///< Of all tensors written.
  std::vector<std::string> warnings;
};

/// Gives the architecture that imports files of a general.architecture; throws Error(plugin) where
/// none is installed.
using GgufArchitectureSource = std::function<ArchitectureOffer(std::string_view gguf_architecture)>;

/// Told how many bytes of how many are done; false ends the import. Until the file has been looked
/// through, nothing is done and the total is an estimate.
using ImportProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// Writes the folder `out`: config.json, generation_config.json, tokenizer.json,
/// tokenizer_config.json, chat_template.jinja, and the tensors as model.safetensors (several files
/// above the limit) with model.safetensors.index.json; laid out as mlx-lm and transformers read
/// them. The folder appears when it is complete; after an error or an interruption nothing is left.
/// Tensors pass through in pieces, so memory does not grow with the model.
///
/// Throws Error(usage) where `out` exists and `force` does not hold or is not a model folder or
/// holds the file, Error(bad_input) for a file that is malformed or that the family's tables do not
/// cover, Error(plugin) where the architecture cannot import, Error(resources) for a full disk, and
/// Error(interrupted). [load-thread]
ImportReport import_gguf(const std::filesystem::path& gguf, const std::filesystem::path& out,
                         const ImportOptions& options, const GgufArchitectureSource& architectures,
                         const ImportProgress& progress = {});

}  // namespace quiver
