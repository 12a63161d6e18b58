// Rounding to and widening from the types of scales and biases.
#include "parameters.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace quiver::affine {
namespace {

// Neither NaN nor infinity needs care here: encode() refuses weights that would lead to them, and
// reports a value that rounds to infinity.

std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

std::uint16_t to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  constexpr std::uint32_t kOverflow = 0x47800000;  // 65536
  constexpr std::uint32_t kSmallest = 0x38800000;  // 2^-14, the smallest normal float16
  if (magnitude >= kOverflow) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < kSmallest) {
    // Units of 2^-24; adding and removing 1.5 * 2^23 rounds to a whole number of them.
    const float units = std::bit_cast<float>(magnitude) * 0x1p24F;
    const float rounded = (units + 0x1.8p23F) - 0x1.8p23F;
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(rounded));
  }
  // The carry of the rounding may reach the exponent, which is right, also at the largest.
  const std::uint32_t rebased = magnitude - (112U << 23);
  return static_cast<std::uint16_t>(sign | ((rebased + 0xFFF + ((rebased >> 13) & 1)) >> 13));
}

float from_bf16(std::uint16_t half) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
}

float from_f16(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t magnitude = half & 0x7FFF;
  std::uint32_t bits = 0;
  if (magnitude >= 0x7C00) {  // Infinity and NaN
    bits = 0x7F800000 | ((magnitude & 0x3FF) << 13);
  } else if (magnitude >= 0x400) {
    bits = (magnitude << 13) + (112U << 23);
  } else {
    bits = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24F);
  }
  return std::bit_cast<float>(sign | bits);
}

template <class T>
T read(const std::byte* array, std::size_t index) noexcept {
  T value;
  std::memcpy(&value, array + index * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void write(std::byte* array, std::size_t index, T value) noexcept {
  std::memcpy(array + index * sizeof(T), &value, sizeof(T));
}

}  // namespace

float as_stored(DType type, float value) noexcept {
  switch (type) {
    case DType::f16: return from_f16(to_f16(value));
    case DType::bf16: return from_bf16(to_bf16(value));
    default: return value;
  }
}

float beside(DType type, float stored, int steps) noexcept {
  if (type == DType::f16) return from_f16(static_cast<std::uint16_t>(to_f16(stored) + steps));
  return from_bf16(static_cast<std::uint16_t>(to_bf16(stored) + steps));
}

bool store_parameter(DType type, std::byte* array, std::size_t index, float value) noexcept {
  switch (type) {
    case DType::f16: write(array, index, to_f16(value)); break;
    case DType::bf16: write(array, index, to_bf16(value)); break;
    default: write(array, index, value); break;
  }
  return std::isfinite(load_parameter(type, array, index));
}

float load_parameter(DType type, const std::byte* array, std::size_t index) noexcept {
  switch (type) {
    case DType::f16: return from_f16(read<std::uint16_t>(array, index));
    case DType::bf16: return from_bf16(read<std::uint16_t>(array, index));
    default: return read<float>(array, index);
  }
}

}  // namespace quiver::affine
