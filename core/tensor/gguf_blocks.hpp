// The quantized block formats of GGUF files: their layout and their values.
#pragma once

#include "core/tensor/half.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

// Every block is a struct of bytes and little-endian halves laid out as in files, so it can be
// copied from any address, with a decode() that writes kElements values. Two families exist:
//  - blocks of 32: w = d * q, or w = d * q + m, with one scale (and minimum) a block;
//  - "K" blocks of 256, made of 8 or 16 groups whose own small integer scales share the block's.
namespace quiver::blocks {

/// The 8 scales and 8 minimums of Q4_K and Q5_K, 6 bits each, packed into 12 bytes: bytes 0-3 and
/// 4-7 hold the first four scales and minimums in their low 6 bits; the last four are split into 4
/// low bits in bytes 8-11 and 2 high bits, which sit on top of bytes 0-3 and 4-7.
struct ScalesAndMinimums {
  std::array<std::uint8_t, 8> scale;
  std::array<std::uint8_t, 8> minimum;

  explicit ScalesAndMinimums(const std::array<std::uint8_t, 12>& packed) {
    for (std::size_t j = 0; j < 4; ++j) {
      scale[j] = packed[j] & 63;
      minimum[j] = packed[j + 4] & 63;
      scale[j + 4] = static_cast<std::uint8_t>((packed[j + 8] & 15) | ((packed[j] >> 6) << 4));
      minimum[j + 4] =
          static_cast<std::uint8_t>((packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4));
    }
  }
};

/// w = d * (q - 8). Low nibbles are elements 0-15, high nibbles 16-31.
struct Q4_0 {
  static constexpr std::size_t kElements = 32;
  std::uint16_t d;
  std::array<std::uint8_t, 16> q;

  void decode(float* out) const {
    const float scale = f16_to_f32(d);
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] = scale * static_cast<float>((q[i] & 15) - 8);
      out[i + 16] = scale * static_cast<float>((q[i] >> 4) - 8);
    }
  }
};

/// w = d * q + m, nibbles as in Q4_0.
struct Q4_1 {
  static constexpr std::size_t kElements = 32;
  std::uint16_t d;
  std::uint16_t m;
  std::array<std::uint8_t, 16> q;

  void decode(float* out) const {
    const float scale = f16_to_f32(d);
    const float minimum = f16_to_f32(m);
    for (std::size_t i = 0; i < 16; ++i) {
      out[i] = scale * static_cast<float>(q[i] & 15) + minimum;
      out[i + 16] = scale * static_cast<float>(q[i] >> 4) + minimum;
    }
  }
};

/// w = d * (q - 16); the fifth bit of element i is bit i of `high`, a little-endian 32-bit word.
struct Q5_0 {
  static constexpr std::size_t kElements = 32;
  std::uint16_t d;
  std::array<std::uint8_t, 4> high;
  std::array<std::uint8_t, 16> low;

  void decode(float* out) const {
    const float scale = f16_to_f32(d);
    std::uint32_t bits = 0;
    std::memcpy(&bits, high.data(), sizeof(bits));
    for (std::size_t i = 0; i < 16; ++i) {
      const auto first = static_cast<int>((low[i] & 15U) | ((bits >> i) & 1U) << 4);
      const auto second = static_cast<int>((low[i] >> 4) | ((bits >> (i + 16)) & 1U) << 4);
      out[i] = scale * static_cast<float>(first - 16);
      out[i + 16] = scale * static_cast<float>(second - 16);
    }
  }
};

/// w = d * q + m, bits as in Q5_0.
struct Q5_1 {
  static constexpr std::size_t kElements = 32;
  std::uint16_t d;
  std::uint16_t m;
  std::array<std::uint8_t, 4> high;
  std::array<std::uint8_t, 16> low;

  void decode(float* out) const {
    const float scale = f16_to_f32(d);
    const float minimum = f16_to_f32(m);
    std::uint32_t bits = 0;
    std::memcpy(&bits, high.data(), sizeof(bits));
    for (std::size_t i = 0; i < 16; ++i) {
      const auto first = static_cast<int>((low[i] & 15U) | ((bits >> i) & 1U) << 4);
      const auto second = static_cast<int>((low[i] >> 4) | ((bits >> (i + 16)) & 1U) << 4);
      out[i] = scale * static_cast<float>(first) + minimum;
      out[i + 16] = scale * static_cast<float>(second) + minimum;
    }
  }
};

/// w = d * q, q a signed byte.
struct Q8_0 {
  static constexpr std::size_t kElements = 32;
  std::uint16_t d;
  std::array<std::int8_t, 32> q;

  void decode(float* out) const {
    const float scale = f16_to_f32(d);
    for (std::size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(q[i]);
  }
};

/// 16 groups of 16: w = d * scale * q - dmin * minimum, q of 2 bits. `scales` holds a group's scale
/// in the low and its minimum in the high nibble. Within each half of 128 elements, 32 bytes hold
/// four runs of 32 elements, one in each pair of bits.
struct Q2_K {
  static constexpr std::size_t kElements = 256;
  std::array<std::uint8_t, 16> scales;
  std::array<std::uint8_t, 64> q;
  std::uint16_t d;
  std::uint16_t dmin;

  void decode(float* out) const {
    const float scale_of_scales = f16_to_f32(d);
    const float scale_of_minimums = f16_to_f32(dmin);
    for (std::size_t group = 0; group < 16; ++group) {
      const float scale = scale_of_scales * static_cast<float>(scales[group] & 15);
      const float minimum = scale_of_minimums * static_cast<float>(scales[group] >> 4);
      const std::size_t half = group / 8;
      const std::size_t shift = group % 8 / 2 * 2;
      const std::uint8_t* bytes = q.data() + half * 32 + group % 2 * 16;
      for (std::size_t i = 0; i < 16; ++i) {
        const int code = (bytes[i] >> shift) & 3;
        out[group * 16 + i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }
};

/// 16 groups of 16: w = d * (scale - 32) * (q - 4), q of 3 bits: two in `low`, laid out as in Q2_K,
/// the third in `high`, whose byte i holds one bit of each of the elements i, i + 32, ... i + 224.
/// Scales have 6 bits: low nibbles of bytes 0-7 are those of groups 0-7, high nibbles those of
/// groups 8-15; the two high bits of groups 0-3, 4-7, 8-11, 12-15 lie in bytes 8-11 from the lowest
/// pair of bits up.
struct Q3_K {
  static constexpr std::size_t kElements = 256;
  std::array<std::uint8_t, 32> high;
  std::array<std::uint8_t, 64> low;
  std::array<std::uint8_t, 12> scales;
  std::uint16_t d;

  void decode(float* out) const {
    const float scale_of_scales = f16_to_f32(d);
    for (std::size_t group = 0; group < 16; ++group) {
      const int low_bits = (scales[group % 8] >> (group / 8 * 4)) & 15;
      const int high_bits = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
      const float scale = scale_of_scales * static_cast<float>((low_bits | high_bits << 4) - 32);
      const std::size_t shift = group % 8 / 2 * 2;
      const std::uint8_t* bytes = low.data() + group / 8 * 32 + group % 2 * 16;
      const std::uint8_t* thirds = high.data() + group % 2 * 16;
      for (std::size_t i = 0; i < 16; ++i) {
        const int code = ((bytes[i] >> shift) & 3) | ((thirds[i] >> (group / 2)) & 1) << 2;
        out[group * 16 + i] = scale * static_cast<float>(code - 4);
      }
    }
  }
};

/// 8 groups of 32: w = d * scale * q - dmin * minimum. Each run of 32 bytes holds one group in its
/// low nibbles and the next in its high nibbles.
struct Q4_K {
  static constexpr std::size_t kElements = 256;
  std::uint16_t d;
  std::uint16_t dmin;
  std::array<std::uint8_t, 12> scales;
  std::array<std::uint8_t, 128> q;

  void decode(float* out) const {
    const float scale_of_scales = f16_to_f32(d);
    const float scale_of_minimums = f16_to_f32(dmin);
    const ScalesAndMinimums groups(scales);
    for (std::size_t group = 0; group < 8; ++group) {
      const float scale = scale_of_scales * static_cast<float>(groups.scale[group]);
      const float minimum = scale_of_minimums * static_cast<float>(groups.minimum[group]);
      const std::uint8_t* bytes = q.data() + group / 2 * 32;
      const std::size_t shift = group % 2 * 4;
      for (std::size_t i = 0; i < 32; ++i) {
        const int code = (bytes[i] >> shift) & 15;
        out[group * 32 + i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }
};

/// As Q4_K with a fifth bit: bit g of byte i of `high` belongs to element i of group g.
struct Q5_K {
  static constexpr std::size_t kElements = 256;
  std::uint16_t d;
  std::uint16_t dmin;
  std::array<std::uint8_t, 12> scales;
  std::array<std::uint8_t, 32> high;
  std::array<std::uint8_t, 128> low;

  void decode(float* out) const {
    const float scale_of_scales = f16_to_f32(d);
    const float scale_of_minimums = f16_to_f32(dmin);
    const ScalesAndMinimums groups(scales);
    for (std::size_t group = 0; group < 8; ++group) {
      const float scale = scale_of_scales * static_cast<float>(groups.scale[group]);
      const float minimum = scale_of_minimums * static_cast<float>(groups.minimum[group]);
      const std::uint8_t* bytes = low.data() + group / 2 * 32;
      const std::size_t shift = group % 2 * 4;
      for (std::size_t i = 0; i < 32; ++i) {
        const int code = ((bytes[i] >> shift) & 15) | ((high[i] >> group) & 1) << 4;
        out[group * 32 + i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }
};

/// 16 groups of 16: w = d * scale * (q - 32), scales signed bytes, q of 6 bits. Each half of 128
/// elements is four runs of 32: their low 4 bits lie in 64 bytes (runs 0 and 1 in low nibbles, 2
/// and 3 in high ones), their high 2 bits in 32 bytes, one pair of bits a run.
struct Q6_K {
  static constexpr std::size_t kElements = 256;
  std::array<std::uint8_t, 128> low;
  std::array<std::uint8_t, 64> high;
  std::array<std::int8_t, 16> scales;
  std::uint16_t d;

  void decode(float* out) const {
    const float scale_of_scales = f16_to_f32(d);
    for (std::size_t group = 0; group < 16; ++group) {
      const float scale = scale_of_scales * static_cast<float>(scales[group]);
      const std::size_t half = group / 8;
      const std::size_t run = group % 8 / 2;
      const std::size_t within = group % 2 * 16;
      const std::uint8_t* low_bytes = low.data() + half * 64 + run % 2 * 32 + within;
      const std::uint8_t* high_bytes = high.data() + half * 32 + within;
      for (std::size_t i = 0; i < 16; ++i) {
        const int code = ((low_bytes[i] >> (run / 2 * 4)) & 15) | ((high_bytes[i] >> (run * 2)) & 3)
                                                                      << 4;
        out[group * 16 + i] = scale * static_cast<float>(code - 32);
      }
    }
  }
};

/// Block number `index` of `blocks`, copied out because files align nothing. REQUIRES: it lies
/// within. [any-thread]
template <class Block>
Block block_at(std::span<const std::byte> blocks, std::size_t index) {
  Block block;
  std::memcpy(&block, blocks.data() + index * sizeof(Block), sizeof(Block));
  return block;
}

/// Decodes all blocks. REQUIRES: `values` has kElements for each. [any-thread]
template <class Block>
void decode_blocks(std::span<const std::byte> blocks, std::span<float> values) {
  const std::size_t count = blocks.size() / sizeof(Block);
  for (std::size_t i = 0; i < count; ++i) {
    block_at<Block>(blocks, i).decode(values.data() + i * Block::kElements);
  }
}

static_assert(sizeof(Q4_0) == 18 && sizeof(Q4_1) == 20 && sizeof(Q5_0) == 22);
static_assert(sizeof(Q5_1) == 24 && sizeof(Q8_0) == 34 && sizeof(Q2_K) == 84);
static_assert(sizeof(Q3_K) == 110 && sizeof(Q4_K) == 144 && sizeof(Q5_K) == 176);
static_assert(sizeof(Q6_K) == 210);

}  // namespace quiver::blocks
