// Weights that follow from their names by a hash, so that networks of full size need no files.
#pragma once

#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "tests/detect/detect_models.hpp"
#include "tests/support/checkpoint_folder.hpp"

namespace quiver::test {

/// `count` floats in [-1, 1): splitmix64 over fnv1a64(name) + index, the top 24 bits.
inline std::vector<float> hashed(const std::string& name, std::size_t count) {
  std::uint64_t start = 0xCBF29CE484222325U;
  for (const char c : name) start = (start ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t z = start + (i + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    z ^= z >> 31U;
    values[i] = static_cast<float>(static_cast<double>(z >> 40U) / 8388608.0 - 1.0);
  }
  return values;
}

/// A tensor of the network, as the script that recorded the reference makes it.
inline FloatTensor hashed_tensor(const std::string& name, std::vector<std::int64_t> shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  FloatTensor tensor{std::move(shape), hashed(name, count)};
  double factor = 0.5;
  double middle = 0;
  if (tensor.shape.size() == 4) {
    factor = std::sqrt(6.0 * static_cast<double>(tensor.shape[0]) / static_cast<double>(count));
  } else if (name.ends_with("bn.weight")) {
    middle = 1, factor = 0.2;
  } else if (name.ends_with("running_var")) {
    middle = 1, factor = 0.3;
  } else if (name.ends_with("running_mean") || name.ends_with("bn.bias")) {
    factor = 0.1;
  }
  for (float& value : tensor.values) {
    value = static_cast<float>(middle + static_cast<double>(value) * factor);
  }
  return tensor;
}

/// Writes a folder with the network that `config` describes.
inline void write_hashed_detector(const std::filesystem::path& folder, const std::string& config) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config;
  const auto bare =
      LoadedModel::describe(folder / "config.json", detector_architecture, affine_scheme);
  std::map<std::string, FloatTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    tensors.emplace(name, hashed_tensor(name, std::move(shape)));
  };
  for (const Conv2dPart& conv : bare->weights().images().convs()) {
    add(conv.name + ".weight",
        {conv.outputs, conv.kernel, conv.kernel, conv.is_depthwise ? 1 : conv.inputs});
    if (conv.side_parameters == conv.outputs) {
      add(conv.name + ".bias", {conv.outputs});
      continue;
    }
    const std::string norm = conv.name.substr(0, conv.name.size() - 4) + "bn";
    for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
      add(norm + part, {conv.outputs});
    }
  }
  write_tensors(folder / "model.safetensors", tensors);
}

}  // namespace quiver::test
