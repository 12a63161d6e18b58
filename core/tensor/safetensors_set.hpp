// Reading the tensors of a model folder, in one safetensors file or several, or in one of NumPy.
#pragma once

#include "core/tensor/npz.hpp"
#include "core/tensor/safetensors.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// All tensors of a model folder by name, whichever shard holds them. No name occurs twice.
/// Const members: [any-thread]; opening: [load-thread].
class SafetensorsSet {
 public:
  /// Opens the folder's weights, the first that is there of
  ///  1. model.safetensors,
  ///  2. the shards that model.safetensors.index.json names: plain file names ending in
  ///     .safetensors, every one present, every tensor of its weight_map in the shard it names;
  ///  3. model*.safetensors, sorted by name;
  ///  4. weights.safetensors, or the only .safetensors file that there is;
  ///  5. weights.npz, or the only .npz file that there is.
  /// Throws Error(bad_input) naming the folder, file or tensor at fault.
  static SafetensorsSet open(const std::filesystem::path& folder);

  /// Joins files that are open already. `label` stands for the folder in messages.
  static SafetensorsSet join(std::vector<SafetensorsFile> files, const std::string& label);

  /// All tensors: file by file, each in the order of its data. The views live as long as this
  /// object and keep their addresses when it is moved.
  std::span<const TensorView* const> tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr. Logarithmic in the number of tensors.
  const TensorView* find(std::string_view name) const noexcept;

  /// The tensor of that name; throws Error(bad_input) naming it and the folder where there is none.
  const TensorView& at(std::string_view name) const;

  /// The safetensors files, in the order of tensors().
  std::span<const SafetensorsFile> files() const noexcept { return files_; }

  /// Hands memory behind the tensor's data back to the system; see MappedFile::release.
  void release(const TensorView& tensor) const noexcept;

  /// The folder, made fit for messages.
  const std::string& label() const noexcept { return label_; }

 private:
  SafetensorsSet() = default;
  void add(std::span<const TensorView> tensors);
  void sort_names();

  std::string label_;
  std::vector<SafetensorsFile> files_;
  std::vector<NpzFile> archives_;
  std::vector<const TensorView*> tensors_;
  std::vector<const TensorView*> by_name_;
};

}  // namespace quiver
