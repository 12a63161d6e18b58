// Tests that written pictures are read back as they were.
#include "core/image/write_png.hpp"

#include "tests/image/image_test.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

namespace {

using namespace quiver;
using namespace quiver::test;

TEST(WritePng, what_is_written_is_read_back) {
  for (const PictureSize size : {PictureSize{1, 1}, PictureSize{31, 17}, PictureSize{4000, 3}}) {
    const Picture picture = noise(size);
    const auto file = encode_png(picture);
    EXPECT_EQ(picture_format(file), PictureFormat::png);
    EXPECT_EQ(read(file), picture);
  }
}

TEST(WritePng, files_appear_whole_and_replace_others) {
  const TemporaryFolder folder;
  const auto path = folder.write("out.png", "old");
  const Picture picture = noise({20, 10});
  write_png(path, picture);
  EXPECT_EQ(read_picture(path), picture);
  EXPECT_EQ(folder.list(), std::vector<std::string>{"out.png"});
  expect_refused([&] { write_png(folder.path() / "missing/out.png", picture); }, "missing");
}

TEST(WritePng, a_picture_with_missing_bytes_is_refused) {
  expect_refused([] { encode_png({4, 4, {1, 2, 3}}); }, "3 bytes", ErrorCode::internal);
  expect_refused([] { encode_png({}); }, "0 x 0", ErrorCode::internal);
}

}  // namespace
