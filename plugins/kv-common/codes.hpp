// A unit of sixteen codes of 1 to 4 bits, packed into twice as many bytes as a code has bits.
//
//   4 bits  two 32-bit words, the first with the even codes, the second with the odd ones
//   2 bits  one 32-bit word
//   1 bit   one 16-bit word
//   3 bits  the two lower bits of each as a unit of 2 bits, then the highest ones as one of 1 bit
//
// Words are little-endian, codes in them from the lowest bits up. One broadcast and one shift by
// lane bring a code into the lowest bits of each lane of a vector.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quiver::kv {
namespace {

constexpr std::size_t unit_bytes(int bits) {
  return 2 * static_cast<std::size_t>(bits);
}

/// Where code `index` of a unit of 1, 2 or 4 bits is: byte, and bit in it.
template <int kBits>
constexpr int first_bit_of_code(int index) {
  return kBits == 4 ? 32 * (index & 1) + 4 * (index >> 1) : kBits * index;
}

/// Reads code `index` of a unit.
template <int kBits>
[[gnu::always_inline]] inline std::uint32_t code_of(const std::byte* unit, int index) {
  if constexpr (kBits == 3) {
    return code_of<2>(unit, index) | (code_of<1>(unit + 4, index) << 2);
  } else {
    const int bit = first_bit_of_code<kBits>(index);
    return (static_cast<std::uint32_t>(unit[bit / 8]) >> (bit % 8)) & ((1U << kBits) - 1);
  }
}

/// Writes code `index` of a unit, and leaves the others alone.
template <int kBits>
[[gnu::always_inline]] inline void put_code(std::byte* unit, int index, std::uint32_t code) {
  if constexpr (kBits == 3) {
    put_code<2>(unit, index, code & 3);
    put_code<1>(unit + 4, index, code >> 2);
  } else {
    constexpr std::uint32_t kMask = (1U << kBits) - 1;
    const int bit = first_bit_of_code<kBits>(index);
    const auto rest = static_cast<std::uint32_t>(unit[bit / 8]) & ~(kMask << (bit % 8));
    unit[bit / 8] = static_cast<std::byte>(rest | ((code & kMask) << (bit % 8)));
  }
}

}  // namespace
}  // namespace quiver::kv
