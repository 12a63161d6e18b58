// Element types of stored tensors.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quiver {

/// Element type of a stored tensor, named as in the safetensors format.
enum class DType : std::uint8_t {
  f32,
  f16,
  bf16,
  f64,
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  u64,
  i64,
  boolean
};

/// Bytes of one element. [any-thread]
constexpr std::size_t size_bytes(DType type) noexcept {
  switch (type) {
    case DType::u8:
    case DType::i8:
    case DType::boolean: return 1;
    case DType::f16:
    case DType::bf16:
    case DType::u16:
    case DType::i16: return 2;
    case DType::f32:
    case DType::u32:
    case DType::i32: return 4;
    case DType::f64:
    case DType::u64:
    case DType::i64: return 8;
  }
  return 0;
}

}  // namespace quiver
