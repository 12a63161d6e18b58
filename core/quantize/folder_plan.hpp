// Which tensors a quantized folder has, in which files, and what each is made of.
#pragma once

#include <cstdint>
#include <quiver/sidecars.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/checkpoint.hpp"
#include "core/quantize/quantized_folder.hpp"

namespace quiver {

/// A tensor of the new folder.
struct PlannedTensor {
  TensorInfo info;
  const ModelTensor* copied = nullptr;  ///< Of the source; nullptr for a part of a layer.
  int added = 0;          ///< To each copied value: the two files may mean it differently.
  std::size_t layer = 0;  ///< Of the plan, where not copied.
  std::size_t part = 0;

  std::uint64_t size_bytes() const;
};

struct PlannedFile {
  std::string name;                  ///< In the folder.
  const Sidecar* sidecar = nullptr;  ///< nullptr for the weights.
  std::vector<PlannedTensor> tensors;

  std::uint64_t size_bytes() const;
};

struct FolderPlan {
  std::vector<QuantizableLayer> layers;  ///< The folder's, then those that sidecars pack.
  std::vector<LayerFormat> formats;      ///< By layer.
  LayerFormat usual;                     ///< What most of the folder's layers have.
  std::vector<PlannedFile> files;        ///< The weights' first.
};

/// The sidecar that a tensor of that name belongs into; nullptr where that is the weights.
/// [any-thread]
const Sidecar* sidecar_of(const LoadedModel& model, std::string_view name);

/// Names under which a layer's matrix lies in the source. [any-thread]
std::vector<std::string> stored_names(const QuantizableLayer& layer);

/// The format that a layer has in the folder, kept or not; 0 bits where it is not quantized.
/// [any-thread]
LayerFormat written_format(const QuantizableLayer& layer, const LayerFormat& format);

/// The folder must outlive the plan. Throws Error(internal) for a sidecar that names no file.
FolderPlan plan_folder(const QuantizedFolder& folder);

}  // namespace quiver
