// Fuzzes the reader of GGUF files and what follows it: metadata access and decoding of blocks.
#include "core/tensor/gguf.hpp"
#include "core/tensor/gguf_affine.hpp"

#include <quiver/error.hpp>

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

template <class Action>
void attempt(Action action) {
  try {
    action();
  } catch (const quiver::Error& error) {
    check_refusal(error);
  }
}

void read_metadata(const quiver::GgufMetadata& metadata) {
  for (const quiver::GgufEntry& entry : metadata.entries()) {
    if (metadata.find_entry(entry.key) != &entry) std::abort();
    attempt([&] { metadata.get<std::int32_t>(entry.key); });
    attempt([&] { metadata.get<float>(entry.key); });
    attempt([&] { metadata.get<bool>(entry.key); });
    attempt([&] { metadata.get<std::string_view>(entry.key); });
    attempt([&] { metadata.get_array<std::uint64_t>(entry.key); });
    attempt([&] { metadata.get_array<double>(entry.key); });
    attempt([&] { metadata.strings(entry.key); });
  }
}

void read_tensor(const quiver::GgufTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  quiver::dequantize(tensor.type, tensor.data, values);
  const auto bits = quiver::affine_bits(tensor.type);
  if (!bits) return;
  const std::size_t groups = values.size() / quiver::kBlockGroupSize;
  const quiver::DType type = quiver::affine_scale_type(tensor.type, tensor.data);
  std::vector<std::uint32_t> codes(groups * static_cast<std::size_t>(*bits));
  std::vector<std::byte> scales(groups * quiver::size_bytes(type));
  std::vector<std::byte> biases(scales.size());
  if (!quiver::affine_from_blocks(tensor.type, tensor.data, type, codes, scales, biases)) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInput) return 0;
  attempt([&] {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto file = quiver::GgufFile::from_bytes(bytes, "input");
    read_metadata(file.metadata());
    for (const quiver::GgufTensor& tensor : file.tensors()) {
      if (file.find(tensor.name) != &tensor) std::abort();
      // An element takes at least 2 bits (Q2_K's blocks: 84 bytes for 256).
      if (static_cast<std::uint64_t>(tensor.elements()) > bytes.size() * 4) std::abort();
      attempt([&] { read_tensor(tensor); });
    }
  });
  return 0;
}
