// Arithmetic on sizes that come from files: every result is checked for overflow.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace quiver {

/// a + b, or nothing where it does not fit. [any-thread]
constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  if (b > UINT64_MAX - a) return std::nullopt;
  return a + b;
}

/// a * b, or nothing where it does not fit. [any-thread]
constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  if (a != 0 && b > UINT64_MAX / a) return std::nullopt;
  return a * b;
}

/// Product of `dimensions` (1 for none), or nothing where one is negative or the product does not
/// fit into int64. A zero does not excuse an overflow in front of it. [any-thread]
constexpr std::optional<std::uint64_t> checked_elements(
    std::span<const std::int64_t> dimensions) noexcept {
  std::uint64_t product = 1;
  for (const std::int64_t dimension : dimensions) {
    if (dimension < 0) return std::nullopt;
    const auto next = checked_multiply(product, static_cast<std::uint64_t>(dimension));
    if (!next || *next > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
    product = *next;
  }
  return product;
}

}  // namespace quiver
