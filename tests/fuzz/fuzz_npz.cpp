// Fuzzes the readers of NumPy's archives and of single arrays.
#include "core/tensor/npz.hpp"

#include <quiver/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

namespace {

constexpr std::size_t kMaxInput = 1 << 20;

/// Refusing is right; the reason must be one line.
void check_refusal(const quiver::Error& error) {
  if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

void check(const quiver::TensorView& tensor) {
  const auto elements = static_cast<std::size_t>(tensor.elements());
  if (tensor.data.size() != elements * quiver::size_bytes(tensor.dtype)) std::abort();
  unsigned sum = 0;
  for (const std::byte value : tensor.data) sum += static_cast<unsigned>(value);
  if (tensor.data.empty() && sum != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInput) return 0;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  try {
    const auto file = quiver::NpzFile::from_bytes(bytes, "input");
    for (const quiver::TensorView& tensor : file.tensors()) check(tensor);
  } catch (const quiver::Error& error) {
    check_refusal(error);
  }
  try {
    check(quiver::read_npy(bytes, "input"));
  } catch (const quiver::Error& error) {
    check_refusal(error);
  }
  return 0;
}
