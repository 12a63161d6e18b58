// GGUF files as the source of a command that works on model folders.
#pragma once

#include "core/model/import_gguf.hpp"
#include "core/model/staging_folder.hpp"
#include "core/plugin/registry.hpp"

#include <filesystem>

namespace quiver::cli {

/// The installed architectures that import GGUF files. `registry` outlives the result.
GgufArchitectureSource gguf_architectures(const PluginRegistry& registry);

/// A GGUF file as a model folder, with its weights as floats, for as long as this object lives: it
/// lies beside the folder `out` (OUT.source.<process>.tmp). What a killed process has left there
/// the next one removes. [one-call-at-a-time]
class UnpackedGguf {
 public:
  /// Throws as import_gguf() does.
  UnpackedGguf(const std::filesystem::path& gguf, const std::filesystem::path& out,
               const PluginRegistry& registry, const ImportProgress& progress);

  std::filesystem::path folder() const { return place_.path() / "model"; }

 private:
  StagingFolder place_;
};

}  // namespace quiver::cli
