// Buffers between forbidden pages.
#include "core/plugin/guarded_buffer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace {

using quiver::GuardedBuffer;
using quiver::GuardSide;

TEST(GuardedBuffer, is_zero_aligned_and_intact) {
  for (const GuardSide side : {GuardSide::before, GuardSide::after}) {
    for (const std::size_t count : {0U, 1U, 7U, 1024U, 5000U}) {
      GuardedBuffer<float> buffer(count, side, 16);
      EXPECT_EQ(buffer.span().size(), count);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 16, 0U);
      EXPECT_TRUE(std::ranges::all_of(buffer.span(), [](float x) { return x == 0; }));
      std::ranges::fill(buffer.span(), 1.0F);
      EXPECT_TRUE(buffer.is_intact());
    }
  }
}

TEST(GuardedBuffer, sees_writes_into_the_gap_beside_the_bytes) {
  GuardedBuffer<char> behind(10, GuardSide::before);
  behind.data()[10] = 1;
  EXPECT_FALSE(behind.is_intact());
  GuardedBuffer<char> ahead(10, GuardSide::after);
  ahead.data()[-1] = 1;
  EXPECT_FALSE(ahead.is_intact());
}

TEST(GuardedBufferDeathTest, ends_the_process_at_the_forbidden_pages) {
  EXPECT_DEATH(
      {
        GuardedBuffer<int> buffer(8, GuardSide::after);
        const_cast<volatile int*>(buffer.data())[8] = 1;
      },
      "");
  EXPECT_DEATH(
      {
        GuardedBuffer<int> buffer(8, GuardSide::before);
        const_cast<volatile int*>(buffer.data())[-1] = 1;
      },
      "");
  EXPECT_DEATH(
      {
        GuardedBuffer<int> buffer(8, GuardSide::after);
        buffer.make_read_only();
        const_cast<volatile int*>(buffer.data())[0] = 1;
      },
      "");
}

}  // namespace
