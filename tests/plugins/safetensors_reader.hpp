// A minimal reader of trusted safetensors files, so that a plugin's test needs nothing of core.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace quiver::test {

struct StoredTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
};

class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
    bytes_.resize(text.size());
    std::memcpy(bytes_.data(), text.data(), text.size());
    std::uint64_t header = 0;
    std::memcpy(&header, text.data(), sizeof header);
    const auto begin = text.begin() + 8;
    json_ = nlohmann::json::parse(begin, begin + static_cast<std::ptrdiff_t>(header));
    data_ = std::span(bytes_).subspan(8 + header);
  }

  bool has(const std::string& name) const { return json_.contains(name); }

  StoredTensor tensor(const std::string& name) const {
    const auto& entry = json_.at(name);
    const std::size_t begin = entry.at("data_offsets").at(0);
    const std::size_t end = entry.at("data_offsets").at(1);
    return {entry.at("dtype"), entry.at("shape"), data_.subspan(begin, end - begin)};
  }

  const nlohmann::json& header() const { return json_; }

 private:
  std::vector<std::byte> bytes_;
  std::span<const std::byte> data_;
  nlohmann::json json_;
};

}  // namespace quiver::test
