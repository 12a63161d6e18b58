// A detector's folder with kernels quantized, in the layout of the reference package.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/model/loaded_model.hpp"
#include "core/quantize/encoded_matrix.hpp"

namespace quiver {

/// A convolution of a model and what becomes of its kernel.
struct WrittenKernel {
  Conv2d conv;
  const EncodedMatrix* encoded = nullptr;  ///< nullptr = as it is in the source.
};

/// The name that a tensor of the architecture has in a written folder. [any-thread]
std::string written_name(const LoadedModel& model, const std::string& name);

/// The kernel's rows as float32, filled up with zeros to a whole number of groups. [any-thread]
std::vector<float> padded_kernel(const Conv2dPart& part, int group_size);

/// `columns` rounded up to whole groups. [any-thread]
std::int64_t padded_columns(std::int64_t columns, int group_size);

/// Writes weights.safetensors (NAME.data, .scales, .biases of quantized kernels, all else as it is)
/// and config.json (the source's, with allocation, shapes, flat_shape and group_size) into the
/// existing folder `out`. `kernels` has all convolutions of the model, in order. Tensors that the
/// architecture does not take are left out. Returns bytes of all tensors.
std::uint64_t write_detector_folder(const LoadedModel& model,
                                    std::span<const WrittenKernel> kernels, int group_size,
                                    const std::filesystem::path& out);

/// Compares a folder that was written and loaded again with what it was made of. Throws
/// Error(internal) naming the kernel that disagrees.
void verify_detector_folder(const LoadedModel& written, const LoadedModel& model,
                            std::span<const WrittenKernel> kernels);

}  // namespace quiver
