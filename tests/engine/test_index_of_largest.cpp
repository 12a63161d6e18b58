// The likeliest of many logits, whatever their number.
#include "core/decode/index_of_largest.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

namespace quiver {
namespace {

TEST(IndexOfLargest, is_the_first_of_the_largest) {
  std::mt19937 random(3);
  // Few values, so that most are met several times, in several parts.
  for (const int values : {3, 1000}) {
    std::uniform_int_distribution<int> value(-values, values);
    for (const std::size_t count : {1U, 2U, 15U, 17U, 4095U, 4096U, 4097U, 20001U}) {
      std::vector<float> numbers(count);
      for (float& number : numbers) number = static_cast<float>(value(random));
      EXPECT_EQ(index_of_largest(numbers),
                static_cast<std::size_t>(std::ranges::max_element(numbers) - numbers.begin()))
          << count;
    }
  }
}

TEST(IndexOfLargest, knows_infinities_and_lies_inside) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> numbers(9000, -kInfinity);
  EXPECT_EQ(index_of_largest(numbers), 0U);
  numbers[8999] = -1e30F;
  EXPECT_EQ(index_of_largest(numbers), 8999U);
  numbers[4100] = kInfinity;
  EXPECT_EQ(index_of_largest(numbers), 4100U);
  EXPECT_EQ(index_of_largest({}), 0U);
  std::ranges::fill(numbers, std::numeric_limits<float>::quiet_NaN());
  EXPECT_LT(index_of_largest(numbers), numbers.size());
}

}  // namespace
}  // namespace quiver
