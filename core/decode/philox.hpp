// Philox4x32-10: random numbers that are a function of a counter.
#pragma once

#include <array>
#include <cstdint>

namespace quiver {

/// The block of four 32-bit numbers for a counter under a key. Known answer: all zeros ->
/// 6627e8d5 e169c58d bc57ac4c 9b00dbd8. Source: Salmon, Moraes, Dror and Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011. [any-thread]
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                              std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32U) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32U) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

/// A number in [0, 1) with 53 random bits, for one draw of one sampler at one position of a seeded
/// sequence. Key = the seed; counter = (position, place in the chain, draw). [any-thread]
constexpr double philox_uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t place,
                                std::uint32_t draw) noexcept {
  const auto block =
      philox({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32U),
              place, draw},
             {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)});
  const std::uint64_t bits = (std::uint64_t{block[0]} << 32U) | block[1];
  return static_cast<double>(bits >> 11U) * 0x1p-53;
}

}  // namespace quiver
