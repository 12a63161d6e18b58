// The element types of GGUF tensors, their blocks, and their values as float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// Types that can be read, with the numbers that files use for them.
enum class GgufType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  bf16 = 30,
};

/// How a type is stored: rows are sequences of blocks of `block_elements` values in `block_bytes`
/// bytes each.
struct GgufTypeInfo {
  GgufType type;
  std::string_view name;  ///< As files and tools spell it, e.g. "Q4_K".
  std::uint32_t block_elements;
  std::uint32_t block_bytes;
};

/// The type that a file numbers `id`, or nullptr where it cannot be read. [any-thread]
const GgufTypeInfo* find_gguf_type(std::uint32_t id) noexcept;

/// REQUIRES: `type` is one of the enumerators. [any-thread]
const GgufTypeInfo& info_of(GgufType type) noexcept;

/// The name of a type that exists in files, whether it can be read or not ("IQ4_XS"); empty for a
/// number that stands for nothing. [any-thread]
std::string_view gguf_type_name(std::uint32_t id) noexcept;

/// Computes the values of whole blocks: `bytes` holds values.size() / block_elements blocks of
/// `type`, at any alignment. The results are those of the format's reference code to the last bit
/// (products and differences in float32, in its order). Throws Error(internal) where the sizes do
/// not fit together. [any-thread]
void dequantize(GgufType type, std::span<const std::byte> bytes, std::span<float> values);

}  // namespace quiver
