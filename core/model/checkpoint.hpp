// The tensors of a model folder under the names that its architecture takes them by.
#pragma once

#include <filesystem>
#include <map>
#include <quiver/config.hpp>
#include <quiver/tensor_rule.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor/safetensors_set.hpp"

namespace quiver {

/// Memory-mapped; nothing is read until a tensor's bytes are touched. Immutable. [any-thread]
class Checkpoint {
 public:
  /// Opens the safetensors files of `folder` and applies the rules. Throws Error(bad_input) for
  /// malformed files and for two tensors that end up under one name.
  Checkpoint(const std::filesystem::path& folder, std::span<const TensorRule> rules,
             const Config& config);

  /// The tensor of that name, or nullptr. Valid as long as this object.
  const TensorView* find(std::string_view name) const;

  /// All names, sorted.
  std::vector<std::string> names() const;

  /// Tensors of towers that the family does not run (TensorRuleKind::drop_tower), in the order of
  /// the files, under the names that they are stored by.
  std::span<const TensorView* const> towers() const noexcept { return towers_; }

  /// Hands memory behind some tensor's bytes back to the system; they come from the file again when
  /// touched.
  void release(std::span<const std::byte> data) const noexcept;

  /// Bytes of all tensors, dropped ones too.
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  SafetensorsSet files_;
  std::map<std::string, const TensorView*, std::less<>> tensors_;
  std::vector<const TensorView*> towers_;
  std::size_t size_bytes_ = 0;
};

}  // namespace quiver
