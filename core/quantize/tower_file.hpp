// The file for towers: tensors of a model that its family does not run, kept for those that do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "core/tensor/tensor_view.hpp"

namespace quiver {

/// Its name; readers of models take files named model*.safetensors, which this one is not.
inline constexpr const char* kTowerFile = "optiq_vision.safetensors";

/// What a tensor is called there: without a leading "model.", "visual." as "vision_tower.".
/// [any-thread]
std::string tower_name(std::string_view stored);

/// Bytes of tensors. [any-thread]
std::uint64_t tower_bytes(std::span<const TensorView* const> towers);

/// What to tell of tensors that are left out: their number, parts and size. [any-thread]
std::string towers_warning(std::span<const TensorView* const> towers);

/// Writes the tensors as they are into `folder`/kTowerFile, reads them back and compares.
/// `interrupted` is asked between tensors. Throws Error(bad_input) where two would get one name,
/// Error(internal) naming the first that differs, Error(interrupted), and as file operations do.
void write_towers(std::span<const TensorView* const> towers, const std::filesystem::path& folder,
                  const std::function<bool()>& interrupted);

}  // namespace quiver
