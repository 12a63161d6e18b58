// Writing a safetensors file piece by piece.
#pragma once

#include "core/tensor/atomic_file.hpp"
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

/// Writes a safetensors file of any size with constant memory: all tensors are declared first, then
/// their bytes follow in that order, in pieces of any length. The file appears under its name only
/// with commit(); until then, and for ever without it, only a temporary file exists (AtomicFile).
///
/// The data begins at a multiple of 8 bytes. Readers that use tensors in place want every tensor
/// aligned to its elements: declare those with larger elements first. [one-call-at-a-time]
class SafetensorsWriter {
 public:
  /// Creates the file and writes its header. `metadata` is for example {{"format", "mlx"}}.
  /// Throws Error(internal) for a name given twice or reserved, more than kMaxDimensions dimensions
  /// or an impossible shape, and Error(bad_input) for a name that is not UTF-8; Error as AtomicFile
  /// does where the file cannot be written.
  SafetensorsWriter(std::filesystem::path path, std::vector<TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  /// Appends bytes to tensor `name`, which has to be the first declared one that is not complete.
  /// Tensors without elements are complete from the start. Throws Error(internal) for another name
  /// or more bytes than the tensor has.
  void write(std::string_view name, std::span<const std::byte> bytes);

  /// Puts the file into its place. Throws Error(internal) while bytes are missing.
  void commit();

 private:
  void skip_complete();

  std::vector<TensorInfo> tensors_;
  std::size_t current_ = 0;
  std::uint64_t missing_bytes_ = 0;  // Of the current tensor.
  AtomicFile file_;
};

}  // namespace quiver
