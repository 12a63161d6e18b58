// Fuzzes the readers of safetensors files and of shard lists.
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors.hpp"
#include "core/tensor/safetensors_index.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kMaxInput = 1 << 20;

/// Refusing is right; the reason must be one line.
void check_refusal(const quiver::Error& error) {
  if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

void read_tensors(std::span<const std::byte> bytes) {
  const auto file = quiver::SafetensorsFile::from_bytes(bytes, "input");
  std::vector<float> values;
  for (const quiver::TensorView& tensor : file.tensors()) {
    // An input of a mebibyte cannot hold more; and every tensor is found under its name.
    if (static_cast<std::uint64_t>(tensor.elements()) > bytes.size()) std::abort();
    if (file.find(tensor.name) != &tensor) std::abort();
    values.resize(static_cast<std::size_t>(tensor.elements()));
    quiver::to_float(tensor.dtype, tensor.data, values);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInput) return 0;
  try {
    read_tensors(std::as_bytes(std::span(data, size)));
  } catch (const quiver::Error& error) {
    check_refusal(error);
  }
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& [tensor, file] : quiver::parse_safetensors_index(text, "input")) {
      if (file.find('/') != std::string::npos) std::abort();
    }
  } catch (const quiver::Error& error) {
    check_refusal(error);
  }
  return 0;
}
