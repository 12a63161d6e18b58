// Windows of convolutions' inputs against the rows that they stand for, kept one by one.
#include "core/cache/input_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace quiver {
namespace {

constexpr int kChannels = 3;

class InputWindows : public testing::TestWithParam<int> {
 protected:
  InputWindows()
      : rows(static_cast<std::size_t>(GetParam())),
        window(GetParam(), kChannels),
        settled(rows * kChannels, 0.0F) {}

  /// Records rows of new numbers and settles some of them, here and in `window`.
  void pass(int recorded, int accepted, bool is_whole) {
    std::vector<float> inputs(static_cast<std::size_t>(recorded) * kChannels);
    for (float& value : inputs) value = ++last;
    window.record(inputs, is_whole);
    EXPECT_EQ(window.recorded(), is_whole ? std::min(recorded, GetParam()) : recorded);
    expect_settled();  // what is recorded moves nothing
    window.accept(accepted);
    settled.insert(settled.end(), inputs.begin(), inputs.begin() + accepted * kChannels);
    settled.erase(settled.begin(), settled.end() - static_cast<int>(rows) * kChannels);
    expect_settled();
  }

  void expect_settled() const {
    EXPECT_EQ(window.values(), settled);
    for (std::size_t r = 0; r < rows; ++r) {
      EXPECT_TRUE(std::ranges::equal(window.row(static_cast<int>(r)),
                                     std::span(settled).subspan(r * kChannels, kChannels)));
    }
  }

  std::size_t rows;
  InputWindow window;
  std::vector<float> settled;
  float last = 0;
};

TEST_P(InputWindows, hold_the_last_settled_rows_whatever_is_recorded) {
  std::mt19937 random(7);
  for (int turn = 0; turn < 300; ++turn) {
    const int recorded = static_cast<int>(random() % 9);
    const bool is_whole = random() % 3 == 0;
    const int accepted = is_whole
                             ? (random() % 4 == 0 ? 0 : recorded)
                             : static_cast<int>(random() % (static_cast<unsigned>(recorded) + 1));
    pass(recorded, accepted, is_whole);
  }
}

TEST_P(InputWindows, go_on_from_given_rows) {
  pass(5, 4, false);
  window.record(std::vector<float>(2 * kChannels, 9.0F), false);
  for (float& value : settled) value = ++last;
  window.set_values(settled);
  expect_settled();
  window.accept(2);  // nothing is recorded any more
  expect_settled();
  pass(3, 2, false);
  std::ranges::fill(settled, 0.0F);
  window.clear();
  expect_settled();
  pass(2, 2, true);
}

INSTANTIATE_TEST_SUITE_P(rows, InputWindows, testing::Values(0, 1, 3));

}  // namespace
}  // namespace quiver
