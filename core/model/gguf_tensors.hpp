// How the tensors of a GGUF file become those of a model folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <quiver/config.hpp>
#include <quiver/tensor_rule.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/tensor/gguf.hpp"
#include "core/tensor/tensor_view.hpp"

namespace quiver {

/// What a tensor of the file is written as.
struct ImportedTensor {
  const GgufTensor* source = nullptr;
  int heads = 0;  ///< Above 0: the rows of each head are stored as pairs and return to halves.
  int bits = 0;   ///< Above 0: stays quantized, as affine codes of so many bits in groups of 32.
  std::string module;  ///< Of a quantized one: its name without ".weight".
  /// One tensor; of a quantized one codes, scales and biases.
  std::vector<TensorInfo> outputs;
  std::uint64_t bytes = 0;  ///< Of all outputs.
};

struct ImportedTensors {
  std::vector<ImportedTensor> tensors;  ///< In the order of the file.
  DType float_type = DType::f16;        ///< Of most weights.
  std::vector<std::string> warnings;
};

struct TensorImportOptions {
  std::optional<DType> dtype;  ///< f32, f16 or bf16 for all weights that are floats afterwards.
  bool keeps_quantized = false;
};

/// Decides for every tensor of `file` that `rules` do not drop:
/// - Matrices keep their float type, or get `dtype`; those of other types become float16.
/// - With `keeps_quantized`, matrices of blocks that have an exact affine form stay quantized.
/// - Vectors (norms, biases) get the type of most weights where it holds each of their values
///   exactly, and are float32 otherwise.
/// - Integers stay.
/// Looks through vectors and kept matrices; `check` is called in between and may throw. Throws
/// Error(bad_input) naming the tensor for one that no rule knows, two that get one name, heads that
/// do not divide the rows, and values that are not finite. [load-thread]
ImportedTensors plan_tensors(const GgufFile& file, std::span<const TensorRule> rules,
                             const Config& config, const TensorImportOptions& options,
                             const std::function<void()>& check);

/// Computes output `index` of `tensor` and hands its bytes to `sink` in order, in pieces of at most
/// about a MiB. Throws Error(bad_input) naming the tensor where a value does not fit into the
/// output's type. [any-thread]
void convert_tensor(const ImportedTensor& tensor, std::size_t index,
                    const std::function<void(std::span<const std::byte>)>& sink);

/// Hands the blocks of `tensor` to `sink` in the order in which they are written, in pieces of at
/// most 2^18 elements: as stored, or with the rows of each of `heads` heads brought from pairs (2j,
/// 2j + 1) to halves (j, j + n). REQUIRES: 2 * heads divides the rows (of a vector: the elements).
void for_each_piece(const GgufTensor& tensor, int heads,
                    const std::function<void(std::span<const std::byte>)>& sink);

}  // namespace quiver
