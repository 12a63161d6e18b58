// Reading NumPy's archives of arrays.
#pragma once

#include "core/tensor/mapped_file.hpp"
#include "core/tensor/tensor_view.hpp"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// A .npz file: a ZIP archive with an array in the .npy format per entry, named as the tensor.
/// Arrays that are stored as they are stay in the mapped file and are not touched before someone
/// reads them; deflated ones are unpacked into memory while opening.
///
/// What is refused, with Error(bad_input) naming file and array: whatever list_zip() refuses,
/// entries that are no arrays, big-endian numbers, types that dtype.hpp does not list (objects and
/// texts among them), columns first, more than kMaxDimensions dimensions, and shapes that do not
/// fit the bytes. Const members: [any-thread]; opening: [load-thread].
class NpzFile {
 public:
  /// Maps and checks the file at `path`.
  static NpzFile open(const std::filesystem::path& path);

  /// Checks a file image in memory, which the caller keeps alive and unchanged as long as this
  /// object and its views. `label` stands for the path in messages.
  static NpzFile from_bytes(std::span<const std::byte> bytes, const std::string& label);

  NpzFile(NpzFile&&) noexcept = default;
  NpzFile& operator=(NpzFile&&) noexcept = default;

  /// All arrays in the order of the archive, no name twice. The views live as long as this object
  /// and keep their addresses when it is moved.
  std::span<const TensorView> tensors() const noexcept { return tensors_; }

  /// Hands memory behind an array of the mapped file back to the system; see MappedFile::release.
  void release(const TensorView& tensor) const noexcept;

 private:
  NpzFile() = default;
  void read(std::span<const std::byte> bytes, const std::string& label);

  MappedFile mapping_;
  std::vector<std::string> names_;                // Owns what the views' names point at.
  std::vector<std::vector<std::byte>> unpacked_;  // Contents of deflated entries.
  std::vector<TensorView> tensors_;
};

/// Type, shape and bytes of an array in the .npy format; the view has no name. `where` names it in
/// messages. Throws Error(bad_input) as NpzFile does. [any-thread]
TensorView read_npy(std::span<const std::byte> bytes, const std::string& where);

}  // namespace quiver
