// Reading GGUF files.
#pragma once

#include "core/tensor/gguf_metadata.hpp"
#include "core/tensor/gguf_types.hpp"
#include "core/tensor/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// A tensor inside a GGUF file. `name` and `data` are valid as long as the file object; `data` may
/// begin at any address.
struct GgufTensor {
  std::string_view name;
  GgufType type = GgufType::f32;
  std::vector<std::int64_t> shape;  ///< Outermost first: the reverse of the order in the file.
  std::span<const std::byte> data;  ///< All rows, each a whole number of blocks.

  /// Number of elements: the product of the shape, 1 for an empty one. [any-thread]
  std::int64_t elements() const noexcept { return rows() * columns(); }

  /// Length of the last dimension; 1 for an empty shape. [any-thread]
  std::int64_t columns() const noexcept { return shape.empty() ? 1 : shape.back(); }

  /// Product of all dimensions but the last; 1 for an empty shape. [any-thread]
  std::int64_t rows() const noexcept;

  /// The blocks of rows [first, first + count). REQUIRES: they lie within rows(). [any-thread]
  std::span<const std::byte> row_bytes(std::int64_t first, std::int64_t count) const noexcept;
};

/// A memory-mapped GGUF file of version 2 or 3, little-endian, whose metadata and tensor list have
/// been read and checked: all tensors lie inside the file at multiples of its alignment and do not
/// overlap. Tensor data is not touched before someone reads it.
///
/// Everything else is refused with Error(bad_input) naming file and tensor: other versions and byte
/// orders, names given twice, element types that gguf_types.hpp does not list, more than 4
/// dimensions, counts that the file cannot hold. Memory use while opening is proportional to the
/// part of the file in front of the tensor data. Const members: [any-thread]; opening:
/// [load-thread].
class GgufFile {
 public:
  /// Maps and checks the file at `path`.
  static GgufFile open(const std::filesystem::path& path);

  /// Checks a file image in memory, which the caller keeps alive and unchanged as long as this
  /// object and its views. `label` stands for the path in messages.
  static GgufFile from_bytes(std::span<const std::byte> bytes, const std::string& label);

  GgufFile(GgufFile&&) noexcept = default;
  GgufFile& operator=(GgufFile&&) noexcept = default;

  /// The format's version, 2 or 3.
  std::uint32_t version() const noexcept { return version_; }

  const GgufMetadata& metadata() const noexcept { return metadata_; }

  /// All tensors in the order of the file's list. The views live as long as this object and keep
  /// their addresses when it is moved.
  std::span<const GgufTensor> tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr. Logarithmic in the number of tensors.
  const GgufTensor* find(std::string_view name) const noexcept;

  /// The tensor of that name; throws Error(bad_input) naming it and the file where there is none.
  const GgufTensor& at(std::string_view name) const;

  /// Hands memory behind the tensor's data back to the system; see MappedFile::release. REQUIRES:
  /// the tensor is one of this file. Files from memory are left alone.
  void release(const GgufTensor& tensor) const noexcept;

  /// The path, or the label of a file from memory, made fit for messages.
  const std::string& label() const noexcept { return label_; }

 private:
  GgufFile() = default;
  void read(std::span<const std::byte> bytes);

  std::string label_;
  MappedFile mapping_;
  std::uint32_t version_ = 0;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> by_name_;  // Indices into tensors_, sorted by name.
};

}  // namespace quiver
