// Tests that resizing gives the bits that Pillow and OpenCV give.
#include "core/image/resize.hpp"

#include "tests/image/image_test.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace {

using namespace quiver;
using namespace quiver::test;

template <class Resize>
void expect_recorded(const char* name, Resize resize) {
  const auto numbers = stored_numbers();
  std::size_t compared = 0;
  for (const auto& row : numbers.at("resized")) {
    const PictureSize to = size_of(row.at("to"));
    const Picture picture = resize(noise(size_of(row.at("from"))), to);
    ASSERT_EQ(picture.size(), to);
    EXPECT_EQ(crc32(picture.rgb), row.at(name).get<std::uint32_t>()) << row;
    ++compared;
  }
  EXPECT_GE(compared, 70U);
}

TEST(Resize, bicubic_gives_the_bits_of_pillow) {
  expect_recorded("bicubic", resize_bicubic);
}

TEST(Resize, bilinear_gives_the_bits_of_opencv) {
  expect_recorded("bilinear", resize_bilinear);
}

TEST(Resize, a_plain_colour_stays_as_it_is) {
  Picture plain{37, 23, {}};
  for (int i = 0; i < 37 * 23; ++i) plain.rgb.insert(plain.rgb.end(), {0, 127, 255});
  for (const PictureSize size : {PictureSize{5, 90}, PictureSize{111, 4}, PictureSize{37, 24}}) {
    for (const Picture& picture : {resize_bicubic(plain, size), resize_bilinear(plain, size)}) {
      for (std::size_t i = 0; i < picture.rgb.size(); i += 3) {
        ASSERT_EQ(picture.rgb[i], 0);
        ASSERT_EQ(picture.rgb[i + 1], 127);
        ASSERT_EQ(picture.rgb[i + 2], 255);
      }
    }
  }
}

TEST(Resize, bicubic_is_close_to_the_formula_in_double) {
  const Picture picture = noise({40, 1});
  const Picture small = resize_bicubic(picture, {16, 1});
  for (int x = 0; x < 16; ++x) {
    const double centre = (x + 0.5) * 2.5;
    double sum = 0;
    double weights = 0;
    for (int i = 0; i < 40; ++i) {
      const double d = std::abs(i + 0.5 - centre) / 2.5;
      double w = 0;
      if (d < 1) w = 1.5 * d * d * d - 2.5 * d * d + 1;
      if (d >= 1 && d < 2) w = -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2;
      sum += w * picture.rgb[static_cast<std::size_t>(i) * 3];
      weights += w;
    }
    const double exact = std::min(255.0, std::max(0.0, sum / weights));
    EXPECT_NEAR(small.rgb[static_cast<std::size_t>(x) * 3], exact, 0.51) << x;
  }
}

TEST(Resize, what_lies_between_the_passes_stays_small) {
  // Columns first would take 30 GB.
  EXPECT_EQ(resize_bicubic(noise({1, 100'000}), {100'000, 1}).rgb.size(), 300'000U);
  EXPECT_EQ(resize_bicubic(noise({100'000, 1}), {1, 100'000}).rgb.size(), 300'000U);
}

TEST(Resize, sizes_that_cannot_be_made_are_refused) {
  const Picture picture = noise({3, 2});
  for (const PictureSize size : {PictureSize{0, 5}, PictureSize{5, -1}, PictureSize{1'000'001, 1},
                                 PictureSize{100'000, 100'000}}) {
    expect_refused([&] { resize_bicubic(picture, size); }, "cannot be resized", ErrorCode::usage);
    expect_refused([&] { resize_bilinear(picture, size); }, "cannot be resized", ErrorCode::usage);
  }
  Picture broken = picture;
  broken.rgb.pop_back();
  expect_refused([&] { resize_bicubic(broken, {2, 2}); }, "17 bytes", ErrorCode::internal);
}

}  // namespace
