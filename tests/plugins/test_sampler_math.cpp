// The exponential and logarithm of sampler-standard against the C library's long double ones.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "math.hpp"

namespace quiver::samplers {
namespace {

double ulps(double value, long double exact) {
  const double unit =
      std::abs(std::nextafter(static_cast<double>(exact), 1e300) - static_cast<double>(exact));
  return static_cast<double>(std::abs(static_cast<long double>(value) - exact)) / unit;
}

TEST(SamplerMath, exponential_is_within_two_units_in_the_last_place) {
  double worst = 0;
  for (int i = 0; i <= 200000; ++i) {
    const double x = -708 + i * (1417.0 / 200000);
    worst = std::max(worst, ulps(exp_of(x), std::exp(static_cast<long double>(x))));
  }
  for (int i = -5000; i <= 5000; ++i) {
    const double x = i * 1e-4;
    worst = std::max(worst, ulps(exp_of(x), std::exp(static_cast<long double>(x))));
  }
  EXPECT_LE(worst, 2.0);
}

TEST(SamplerMath, exponential_is_exact_at_its_ends) {
  EXPECT_EQ(exp_of(0), 1.0);
  EXPECT_EQ(exp_of(-0.0), 1.0);
  EXPECT_EQ(exp_of(-std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_EQ(exp_of(-708.5), 0.0);
  EXPECT_EQ(exp_of(1e9), exp_of(709));
}

TEST(SamplerMath, logarithm_is_within_its_bound) {
  double worst = 0;
  for (int i = 1; i <= 200000; ++i) {
    const double x = std::exp(-700 + i * 0.007);
    const long double exact = std::log(static_cast<long double>(x));
    const double unit = std::max(std::abs(static_cast<double>(exact)), 0.35) * 0x1p-52;
    worst = std::max(worst, std::abs(static_cast<double>(log_of(x) - exact)) / unit);
  }
  EXPECT_LE(worst, 3.0);
  EXPECT_EQ(log_of(1), 0.0);
}

TEST(SamplerMath, powers_with_whole_exponents_are_exact_where_representable) {
  EXPECT_EQ(power_of(3, 0), 1.0);
  EXPECT_EQ(power_of(3, 13), 1594323.0);
  EXPECT_EQ(power_of(1.5, 5), 7.59375);
}

TEST(SamplerMath, sums_have_four_interleaved_parts) {
  // 2^53 + 1 is lost in a running sum; the parts keep the ones apart.
  const double values[] = {0x1p53, 1, 1, 0, 0, 0, 1, 1, 1};
  EXPECT_EQ(sum_of(values, 9), (0x1p53 + 1 + (2 + 1)) + 1);
}

}  // namespace
}  // namespace quiver::samplers
