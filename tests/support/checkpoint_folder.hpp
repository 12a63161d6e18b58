// Small checkpoint folders written by a test, removed with it.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/tensor/safetensors_writer.hpp"

namespace quiver::test {

/// A folder of its own below the system's temporary one, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quiver-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

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
