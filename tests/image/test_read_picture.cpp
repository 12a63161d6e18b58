// Tests that pictures of every kind decode to the pixels that Pillow reads.
#include "core/image/read_picture.hpp"

#include "tests/image/image_test.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace {

using namespace quiver;
using namespace quiver::test;

std::size_t differing(const Picture& a, const Picture& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) count += a.rgb[i] != b.rgb[i] ? 1 : 0;
  return count;
}

TEST(ReadPicture, every_kind_of_file_gives_the_pixels_that_pillow_reads) {
  const auto numbers = stored_numbers();
  std::size_t compared = 0;
  for (const std::string& name : stored_names()) {
    SCOPED_TRACE(name);
    const Picture picture = read(stored_file(name));
    if (const TensorView* expected = stored_pictures().find(name + ".rgb")) {
      const Picture want = as_picture(*expected);
      ASSERT_EQ(picture.size(), want.size());
      EXPECT_EQ(differing(picture, want), 0U);
    } else {
      const auto& large = numbers.at("large").at(name);
      ASSERT_EQ(picture.size(), size_of(large.at("size")));
      EXPECT_EQ(crc32(picture.rgb), large.at("crc32").get<std::uint32_t>());
    }
    ++compared;
  }
  EXPECT_GE(compared, 60U);
}

TEST(ReadPicture, orientation_moves_the_corners_where_exif_says) {
  // All eight files hold a picture of 12 x 7; from 5 on its columns are rows.
  for (int value = 1; value <= 8; ++value) {
    const Picture picture = read(stored_file("jpeg-orientation-" + std::to_string(value)));
    EXPECT_EQ(picture.size(), (value < 5 ? PictureSize{12, 7} : PictureSize{7, 12})) << value;
  }
}

TEST(ReadPicture, damaged_exif_data_is_ignored) {
  const auto file = stored_copy("jpeg-orientation-6");
  const std::string text(reinterpret_cast<const char*>(file.data()), file.size());
  const std::size_t exif = text.find("Exif");
  ASSERT_NE(exif, std::string::npos);
  // The TIFF header and directory, byte by byte: whatever becomes of them, the picture stays.
  for (std::size_t at = exif + 6; at < exif + 6 + 22; ++at) {
    for (const int value : {0x00, 0x7F, 0xFF}) {
      auto changed = file;
      changed[at] = static_cast<std::byte>(value);
      const Picture picture = read(changed);
      EXPECT_EQ(picture.rgb.size(), 12U * 7U * 3U);
    }
  }
}

TEST(ReadPicture, the_format_is_seen_in_the_content_not_in_the_name) {
  const TemporaryFolder folder;
  for (const auto& [name, format] :
       {std::pair{"jpeg-444", PictureFormat::jpeg}, std::pair{"png-2-8", PictureFormat::png},
        std::pair{"webp-lossless", PictureFormat::webp}}) {
    EXPECT_EQ(picture_format(stored_file(name)), format);
    const auto path = folder.write("picture.txt", stored_file(name));
    EXPECT_EQ(read_picture(path), read(stored_file(name)));
  }
  EXPECT_EQ(picture_format({}), std::nullopt);
}

TEST(ReadPicture, a_missing_file_is_named) {
  expect_refused([] { read_picture(std::filesystem::path("/nowhere/cat.jpg")); }, "cat.jpg");
}

}  // namespace
