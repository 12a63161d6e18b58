// Exponential and logarithm with the same bits on every machine, written so that loops vectorize.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace quiver::samplers {

// A C library picks its exp and log by what the processor has, and their last bits differ with it.
// A seeded text must not, so these use nothing but IEEE additions, products and one quotient.

constexpr double kLn2 = 0x1.62e42fefa39efp-1;

/// e^x within 2 units in the last place; 0 below -708, which includes -infinity, and e^709 above
/// 709. x is not NaN. [any-thread]
inline double exp_of(double x) {
  // 33 bits of ln 2, so that its product with an exponent is exact, and the rest.
  constexpr double kLn2High = 0x1.62e42feep-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  // Adding it rounds to a whole number, whose bits then are the lowest of the sum.
  constexpr double kRounder = 0x1.8p52;
  const double bounded = x < -708 ? -708 : (x > 709 ? 709 : x);
  const double shifted = bounded * kLog2E + kRounder;
  const double exponent = shifted - kRounder;
  const double r = (bounded - exponent * kLn2High) - exponent * kLn2Low;
  // Taylor to r^13: |r| <= ln 2 / 2, so what is left out is below 0.347^14 / 14! = 4e-18.
  double p = 1.0 / 6227020800;
  p = p * r + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const std::uint64_t scale = std::bit_cast<std::uint64_t>(shifted) << 52;
  const double value = std::bit_cast<double>(std::bit_cast<std::uint64_t>(p) + scale);
  return x < -708 ? 0.0 : value;
}

/// Natural logarithm of a positive, normal, finite x, within 3 units in the last place of the
/// larger of its two terms. [any-thread]
inline double log_of(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0x1.6a09e667f3bcdp-1) {  // sqrt(1/2): keeps |f| at most 0.172
    m *= 2;
    --exponent;
  }
  // log m = 2 artanh f; f^23 / 23 < 2e-19 is left out.
  const double f = (m - 1) / (m + 1);
  const double square = f * f;
  double series = 0;
  for (int k = 21; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return exponent * kLn2 + 2 * f * series;
}

/// base^exponent for a whole exponent of at least 0, by repeated squaring. [any-thread]
inline double power_of(double base, std::int64_t exponent) {
  double result = 1;
  for (double square = base; exponent > 0; exponent >>= 1, square *= square) {
    if ((exponent & 1) != 0) result *= square;
  }
  return result;
}

/// Sum of `count` values in four interleaved partial sums, which is the same order everywhere.
/// [any-thread]
inline double sum_of(const double* values, std::size_t count) {
  double sums[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) sums[lane] += values[i + lane];
  }
  double rest = 0;
  for (; i < count; ++i) rest += values[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

}  // namespace quiver::samplers
