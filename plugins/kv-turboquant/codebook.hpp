// Codebooks: the points that stand for the numbers of a standard normal distribution.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quiver::kv_turboquant {
// Files built for different instruction sets include this, and must not share functions.
namespace {

/// Magnitudes of a code of kBits, half of the codebook: the points of least mean squared error
/// (Lloyd and Max), each the mean of the numbers that are nearest to it.
template <int kBits>
struct Codebook;

template <>
struct Codebook<1> {
  static constexpr float kMagnitudes[] = {0.797884561F};
};
template <>
struct Codebook<2> {
  static constexpr float kMagnitudes[] = {0.452780035F, 1.510417608F};
};
template <>
struct Codebook<3> {
  static constexpr float kMagnitudes[] = {0.245094179F, 0.756005281F, 1.343909279F, 2.151945705F};
};
template <>
struct Codebook<4> {
  static constexpr float kMagnitudes[] = {0.128395030F, 0.388048299F, 0.656759119F, 0.942340456F,
                                          1.256231197F, 1.618046386F, 2.069017227F, 2.732589571F};
};

/// The code of a number: the nearest point, of two the one nearer to zero.
template <int kBits>
[[gnu::always_inline]] inline std::uint8_t code_of_number(float number) {
  constexpr int kPoints = 1 << (kBits - 1);
  const float magnitude = __builtin_fabsf(number);
  std::uint32_t index = 0;
  for (int i = 0; i + 1 < kPoints; ++i) {
    const float middle =
        (Codebook<kBits>::kMagnitudes[i] + Codebook<kBits>::kMagnitudes[i + 1]) * 0.5F;
    index += magnitude > middle ? 1U : 0U;
  }
  const std::uint32_t sign = __builtin_bit_cast(std::uint32_t, number) >> 31;
  return static_cast<std::uint8_t>(index | (sign << (kBits - 1)));
}

/// What the codes stand for, again and again until there are sixteen.
template <int kBits>
[[gnu::always_inline]] inline void fill_table(float (&entries)[16]) {
  constexpr int kPoints = 1 << (kBits - 1);
  for (int code = 0; code < 16; ++code) {
    const float magnitude = Codebook<kBits>::kMagnitudes[code % kPoints];
    entries[code] = (code / kPoints) % 2 == 0 ? magnitude : -magnitude;
  }
}

}  // namespace
}  // namespace quiver::kv_turboquant
