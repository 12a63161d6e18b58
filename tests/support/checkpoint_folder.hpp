// Small checkpoint folders written by a test, removed with it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/tensor/safetensors_writer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {

struct FloatTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// Writes float32 tensors as a safetensors file.
inline void write_tensors(const std::filesystem::path& path,
                          const std::map<std::string, FloatTensor>& tensors) {
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : tensors) infos.push_back({name, DType::f32, tensor.shape});
  SafetensorsWriter writer(path, infos);
  for (const auto& [name, tensor] : tensors)
    writer.write(name, std::as_bytes(std::span(tensor.values)));
  writer.commit();
}

}  // namespace quiver::test
