// Tests that damaged and hostile pictures are refused in one line and within bounded memory.
#include "core/image/read_picture.hpp"
#include "tests/image/image_test.hpp"
#include "tests/tensor/refusal.hpp"

#include <quiver/error.hpp>

#include <gtest/gtest.h>

#include <initializer_list>
#include <stdexcept>
#include <string_view>

#include <sys/resource.h>

namespace {

using namespace quiver;
using namespace quiver::test;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void put(std::vector<std::byte>& file, std::size_t at, std::initializer_list<int> values) {
  for (const int value : values) file.at(at++) = static_cast<std::byte>(value);
}

std::size_t find(std::span<const std::byte> file, std::string_view text) {
  const std::string all(reinterpret_cast<const char*>(file.data()), file.size());
  const std::size_t at = all.find(text);
  if (at == std::string::npos) throw std::runtime_error("not found");
  return at;
}

/// Where the frame header's height and width are: behind the marker, length and depth.
std::size_t jpeg_sizes(std::span<const std::byte> file, std::string_view marker) {
  return find(file, marker) + 5;
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(BadPictures, what_is_not_a_picture_is_refused) {
  expect_refused([] { read({}); }, "empty");
  for (const auto text :
       {"GIF89a\1\0\1\0\x80", "BM", "hello", "RIFF1234WAVE", "\xFF\xD8", "%PDF"}) {
    expect_refused([&] { read(bytes_of(text)); }, "JPEG, PNG and WebP");
  }
}

TEST(BadPictures, a_file_that_ends_early_is_refused_wherever_it_ends) {
  for (const std::string& name : stored_names()) {
    SCOPED_TRACE(name);
    const auto file = stored_file(name);
    for (std::size_t part = 1; part < 24; ++part) {
      const auto begin = file.first(file.size() * part / 24);
      EXPECT_THROW(read(begin), Error) << begin.size() << " bytes of " << file.size();
    }
  }
}

TEST(BadPictures, a_byte_that_is_wrong_gives_a_picture_or_one_line) {
  for (const std::string& name : stored_names()) {
    SCOPED_TRACE(name);
    const auto file = stored_copy(name);
    const std::size_t step = file.size() / 60 + 1;
    for (std::size_t at = 0; at < file.size(); at += step) {
      auto changed = file;
      changed[at] ^= std::byte{0x55};
      try {
        const Picture picture = read(changed, {.max_pixels = 1 << 20});
        EXPECT_EQ(picture.rgb.size(), picture_bytes(picture.size()));
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::bad_input) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
  }
}

TEST(BadPictures, damage_to_the_pixels_of_a_jpeg_is_not_passed_over) {
  auto file = stored_copy("jpeg-420");
  const std::size_t scan = find(file, "\xFF\xDA") + 40;
  put(file, scan, {0xFF, 0xD9});  // The end, in the middle.
  expect_refused([&] { read(file); }, "JPEG picture cannot be read");
}

TEST(BadPictures, a_size_of_nothing_is_refused) {
  expect_refused([] { read(png_of_size("png-2-8", 0, 0)); }, "PNG picture cannot be read");
  auto jpeg = stored_copy("jpeg-444");
  put(jpeg, jpeg_sizes(jpeg, "\xFF\xC0"), {0, 0});
  expect_refused([&] { read(jpeg); }, "JPEG picture cannot be read");
}

TEST(BadPictures, sizes_above_the_limits_are_refused_before_memory_is_taken) {
  const long before = peak_kilobytes();
  expect_refused([] { read(png_of_size("png-2-8", 65536, 65536)); }, "65536 x 65536");
  expect_refused([] { read(png_of_size("png-0-1-interlaced", 1 << 20, 1)); }, "1000000 a side");
  auto jpeg = stored_copy("jpeg-444");
  put(jpeg, jpeg_sizes(jpeg, "\xFF\xC0"), {0xFF, 0x00, 0xFF, 0x00});
  expect_refused([&] { read(jpeg); }, "65280 x 65280");
  auto webp = stored_copy("webp-animated");
  put(webp, find(webp, "VP8X") + 12, {0xFF, 0x3F, 0, 0xFF, 0x3F, 0});
  expect_refused([&] { read(webp); }, "16384 x 16384");
  EXPECT_LT(peak_kilobytes() - before, 16 * 1024);

  const auto small = stored_file("png-2-8");
  EXPECT_EQ(read(small, {.max_pixels = 13 * 9}).width, 13);
  EXPECT_EQ(read(small, {.max_side = 13}).width, 13);
  expect_refused([&] { read(small, {.max_pixels = 13 * 9 - 1}); }, "13 x 9");
  expect_refused([&] { read(small, {.max_side = 12}); }, "13 x 9");
}

TEST(BadPictures, a_short_file_that_claims_an_allowed_size_costs_little) {
  const long before = peak_kilobytes();
  for (const auto* name : {"png-2-8", "png-2-8-interlaced", "png-0-16"}) {
    expect_refused([&] { read(png_of_size(name, 8192, 8192)); }, "it ends early");
  }
  auto jpeg = stored_copy("jpeg-420");
  put(jpeg, jpeg_sizes(jpeg, "\xFF\xC0"), {0x20, 0, 0x20, 0});
  expect_refused([&] { read(jpeg); }, "JPEG picture cannot be read");
#ifdef __SANITIZE_ADDRESS__  // It marks an eighth of what is allocated, touched or not.
  constexpr long kMarks = 4L * 8192 * 8192 * 3 / 8 / 1024;
#else
  constexpr long kMarks = 0;
#endif
  EXPECT_LT(peak_kilobytes() - before, 32 * 1024 + kMarks);
}

TEST(BadPictures, endless_scans_are_cut_off) {
  const auto file = stored_copy("jpeg-progressive");
  const std::string all(reinterpret_cast<const char*>(file.data()), file.size());
  // The first scan may come again: the coefficients that it sets are the same.
  const std::size_t begin = all.find("\xFF\xDA");
  std::size_t end = begin + 2;
  while (all.at(end) != '\xFF' || all.at(end + 1) == '\0') ++end;
  const auto repeated = [&](int times) {
    std::string many = all.substr(0, end);
    for (int i = 0; i < times; ++i) many += all.substr(begin, end - begin);
    return bytes_of(many + all.substr(end));
  };
  EXPECT_EQ(read(repeated(50)), read(file));
  expect_refused([&] { read(repeated(150)); }, "more than 100 scans");
}

TEST(BadPictures, refusing_leaves_nothing_behind) {
  const auto half = [](const char* name) {
    const auto file = stored_file(name);
    return file.first(file.size() / 2);
  };
  const auto refuse = [&] {
    for (const char* name : {"jpeg-cmyk", "jpeg-progressive", "png-2-8-interlaced", "webp-lossy"}) {
      EXPECT_THROW(read(half(name)), Error);
    }
  };
  refuse();
  const long before = peak_kilobytes();
  for (int i = 0; i < 300; ++i) refuse();
#ifndef __SANITIZE_ADDRESS__  // It keeps what is freed for a while, and looks for leaks itself.
  EXPECT_LT(peak_kilobytes() - before, 4 * 1024);
#else
  EXPECT_GT(before, 0);
#endif
}

}  // namespace
