// Exact rewriting of blocks as affine groups.
#include "core/tensor/gguf_affine.hpp"

#include "core/tensor/gguf_blocks.hpp"
#include "core/tensor/half.hpp"

#include <quiver/error.hpp>

#include <array>
#include <cmath>
#include <cstring>
#include <string>

namespace quiver {

namespace {

using Codes = std::array<std::uint8_t, kBlockGroupSize>;

/// Scale and bias of a block as numbers; every f16 times a power of two is exact in float32.
struct Affine {
  float scale;
  float bias;
};

Affine affine_of(const blocks::Q4_0& block) {
  const float scale = f16_to_f32(block.d);
  return {scale, -8.0F * scale};
}
Affine affine_of(const blocks::Q4_1& block) {
  return {f16_to_f32(block.d), f16_to_f32(block.m)};
}
Affine affine_of(const blocks::Q8_0& block) {
  const float scale = f16_to_f32(block.d);
  return {scale, -128.0F * scale};
}

/// Element order: low nibbles are elements 0-15, high nibbles 16-31; two codes share a byte.
void pack_nibbles(const std::array<std::uint8_t, 16>& q, std::uint32_t* words) {
  Codes codes;
  for (std::size_t i = 0; i < 16; ++i) {
    codes[i] = q[i] & 15;
    codes[i + 16] = q[i] >> 4;
  }
  std::array<std::uint8_t, 16> packed;
  for (std::size_t i = 0; i < 16; ++i) {
    packed[i] = static_cast<std::uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  }
  std::memcpy(words, packed.data(), packed.size());
}

void pack(const blocks::Q4_0& block, std::uint32_t* words) {
  pack_nibbles(block.q, words);
}
void pack(const blocks::Q4_1& block, std::uint32_t* words) {
  pack_nibbles(block.q, words);
}
void pack(const blocks::Q8_0& block, std::uint32_t* words) {
  Codes codes;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>(block.q[i] + 128);
  }
  std::memcpy(words, codes.data(), codes.size());
}

bool fits_f16(float value) {
  return f16_to_f32(f32_to_f16(value)) == value;
}

void store(float value, DType type, std::span<std::byte> values, std::size_t index) {
  const std::size_t bytes = size_bytes(type);
  from_float({&value, 1}, type, values.subspan(index * bytes, bytes));
}

template <class Block>
DType narrowest_scale(std::span<const std::byte> bytes) {
  DType type = DType::f16;
  for (std::size_t i = 0; i < bytes.size() / sizeof(Block); ++i) {
    const Affine affine = affine_of(blocks::block_at<Block>(bytes, i));
    if (!std::isfinite(affine.scale) || !std::isfinite(affine.bias)) {
      throw Error(ErrorCode::bad_input,
                  "block " + std::to_string(i) + " has a scale that is not a finite number", {},
                  "the file is damaged; fetch it again");
    }
    // Scales and Q4_1's minimums are f16 in the file already.
    if (!fits_f16(affine.bias)) type = DType::f32;
  }
  return type;
}

template <class Block>
bool convert(std::span<const std::byte> bytes, DType scale_type, std::span<std::uint32_t> codes,
             std::span<std::byte> scales, std::span<std::byte> biases) {
  const std::size_t count = bytes.size() / sizeof(Block);
  const std::size_t words = count == 0 ? 0 : codes.size() / count;
  for (std::size_t i = 0; i < count; ++i) {
    const auto block = blocks::block_at<Block>(bytes, i);
    const Affine affine = affine_of(block);
    if (!std::isfinite(affine.scale) || !std::isfinite(affine.bias)) return false;
    if (scale_type == DType::f16 && !fits_f16(affine.bias)) return false;
    pack(block, codes.data() + i * words);
    store(affine.scale, scale_type, scales, i);
    store(affine.bias, scale_type, biases, i);
  }
  return true;
}

[[noreturn]] void fail(const char* what) {
  throw Error(ErrorCode::internal, what);
}

/// Number of blocks in `bytes`; throws for types without an affine form and for pieces of blocks.
std::size_t count_blocks(GgufType type, std::span<const std::byte> bytes) {
  if (!affine_bits(type)) fail("this block type has no affine form");
  const std::size_t block_bytes = info_of(type).block_bytes;
  if (bytes.size() % block_bytes != 0) fail("a piece of a block cannot be converted");
  return bytes.size() / block_bytes;
}

}  // namespace

std::optional<int> affine_bits(GgufType type) noexcept {
  switch (type) {
    case GgufType::q4_0:
    case GgufType::q4_1: return 4;
    case GgufType::q8_0: return 8;
    default: return std::nullopt;
  }
}

DType affine_scale_type(GgufType type, std::span<const std::byte> bytes) {
  count_blocks(type, bytes);
  switch (type) {
    case GgufType::q4_0: return narrowest_scale<blocks::Q4_0>(bytes);
    case GgufType::q4_1: return narrowest_scale<blocks::Q4_1>(bytes);
    default: return narrowest_scale<blocks::Q8_0>(bytes);
  }
}

bool affine_from_blocks(GgufType type, std::span<const std::byte> bytes, DType scale_type,
                        std::span<std::uint32_t> codes, std::span<std::byte> scales,
                        std::span<std::byte> biases) {
  const std::size_t count = count_blocks(type, bytes);
  if (scale_type != DType::f16 && scale_type != DType::f32) fail("scales are f16 or f32");
  // 32 codes of b bits fill b words.
  if (codes.size() != count * static_cast<std::size_t>(*affine_bits(type)) ||
      scales.size() != count * size_bytes(scale_type) || biases.size() != scales.size()) {
    fail("blocks and affine groups differ in number");
  }
  switch (type) {
    case GgufType::q4_0: return convert<blocks::Q4_0>(bytes, scale_type, codes, scales, biases);
    case GgufType::q4_1: return convert<blocks::Q4_1>(bytes, scale_type, codes, scales, biases);
    default: return convert<blocks::Q8_0>(bytes, scale_type, codes, scales, biases);
  }
}

}  // namespace quiver
