// Reading one safetensors file.
#pragma once

#include "core/tensor/mapped_file.hpp"
#include "core/tensor/tensor_view.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// A memory-mapped safetensors file whose header has been read and checked against the file: every
/// tensor lies inside it, has exactly the bytes of its type and shape, and the tensors follow each
/// other without gaps or overlaps up to the end of the file, as the format demands. Tensor data is
/// not touched before someone reads it.
///
/// What is refused, with Error(bad_input) naming file and tensor: a header over 100 MiB, malformed
/// JSON, a name or field given twice, element types that dtype.hpp does not list (8-bit floats,
/// say), more than kMaxDimensions dimensions. Memory use while opening is proportional to the
/// header. Const members: [any-thread]; opening: [load-thread].
class SafetensorsFile {
 public:
  /// Maps and checks the file at `path`.
  static SafetensorsFile open(const std::filesystem::path& path);

  /// Checks a file image in memory, which the caller keeps alive and unchanged as long as this
  /// object and its views. `label` stands for the path in messages.
  static SafetensorsFile from_bytes(std::span<const std::byte> bytes, const std::string& label);

  SafetensorsFile(SafetensorsFile&&) noexcept = default;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept = default;

  /// All tensors in the order of their data. The views live as long as this object and keep their
  /// addresses when it is moved.
  std::span<const TensorView> tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr. Logarithmic in the number of tensors.
  const TensorView* find(std::string_view name) const noexcept;

  /// The tensor of that name; throws Error(bad_input) naming it and the file where there is none.
  const TensorView& at(std::string_view name) const;

  /// The header's `__metadata__`, e.g. {"format": "mlx"}; empty where the file has none.
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

  /// Hands memory behind the tensor's data back to the system; see MappedFile::release. Views of
  /// other files, and files from memory, are left alone.
  void release(const TensorView& tensor) const noexcept;

  /// The path, or the label of a file from memory, made fit for messages.
  const std::string& label() const noexcept { return label_; }

 private:
  SafetensorsFile() = default;
  void read(std::span<const std::byte> bytes);

  std::string label_;
  MappedFile mapping_;
  std::vector<std::string> names_;  // Owns what the views' names point at.
  std::vector<TensorView> tensors_;
  std::vector<std::uint32_t> by_name_;  // Indices into tensors_, sorted by name.
  std::map<std::string, std::string> metadata_;
};

}  // namespace quiver
