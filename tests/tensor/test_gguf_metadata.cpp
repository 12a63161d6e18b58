// Tests of GGUF metadata: typed access, and every way in which it can lie.
#include "core/tensor/gguf_metadata.hpp"

#include "core/tensor/gguf.hpp"
#include "tests/tensor/gguf_image.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kU32 = 4, kI32 = 5, kF32 = 6,
                        kBool = 7, kString = 8, kArray = 9, kU64 = 10, kI64 = 11, kF64 = 12;

/// Opens an image, which the caller keeps.
GgufFile opened(const GgufImage& image) {
  return GgufFile::from_bytes(image.bytes(), "image");
}

void expect_image_refused(const GgufImage& image, const std::string& part) {
  expect_refused([&] { opened(image); }, part);
}

GgufImage every_kind() {
  GgufImage image = GgufImage::with(0, 13);
  image.key("u8", kU8).u8(200).key("i8", kI8).number(std::int8_t{-100});
  image.key("u16", kU16).number(std::uint16_t{60000}).key("i16", kI16).number(std::int16_t{-30000});
  image.key("u32", kU32).u32(4000000000U).key("i32", kI32).number(std::int32_t{-2000000000});
  image.key("f32", kF32).number(1.5F).key("f64", kF64).number(1.0 / 3);
  image.key("u64", kU64).u64(UINT64_MAX).key("i64", kI64).number(INT64_MIN);
  image.key("bool", kBool).u8(1).key("string", kString).string("t\u00e9xt");
  image.key("array", kArray).u32(kI16).u64(3);
  return image.number(std::int16_t{-1}).number(std::int16_t{0}).number(std::int16_t{1});
}

TEST(GgufMetadata, reads_every_kind_of_value) {
  const GgufImage image = every_kind();
  const GgufFile file = opened(image);
  const GgufMetadata& metadata = file.metadata();
  EXPECT_EQ(metadata.entries().size(), 13U);
  EXPECT_EQ(metadata.entries()[0].key, "u8");
  EXPECT_EQ(metadata.get<int>("u8"), 200);
  EXPECT_EQ(metadata.get<int>("i8"), -100);
  EXPECT_EQ(metadata.get<int>("u16"), 60000);
  EXPECT_EQ(metadata.get<int>("i16"), -30000);
  EXPECT_EQ(metadata.get<std::uint32_t>("u32"), 4000000000U);
  EXPECT_EQ(metadata.get<std::int64_t>("i32"), -2000000000);
  EXPECT_EQ(metadata.get<float>("f32"), 1.5F);
  EXPECT_EQ(metadata.get<double>("f64"), 1.0 / 3);
  EXPECT_EQ(metadata.get<std::uint64_t>("u64"), UINT64_MAX);
  EXPECT_EQ(metadata.get<std::int64_t>("i64"), INT64_MIN);
  EXPECT_EQ(metadata.get<bool>("bool"), true);
  EXPECT_EQ(metadata.get<std::string_view>("string"), "t\u00e9xt");
  EXPECT_THAT(metadata.get_array<int>("array"), ElementsAre(-1, 0, 1));
  EXPECT_THAT(metadata.get_array<float>("array"), ElementsAre(-1.0F, 0.0F, 1.0F));
}

TEST(GgufMetadata, integers_convert_where_they_fit_and_numbers_to_floats) {
  const GgufImage image = every_kind();
  const GgufFile file = opened(image);
  const GgufMetadata& metadata = file.metadata();
  EXPECT_EQ(metadata.get<double>("i8"), -100.0);
  EXPECT_EQ(metadata.get<float>("u8"), 200.0F);
  expect_refused([&] { metadata.get<std::uint8_t>("u16"); }, "'u16' is out of range");
  expect_refused([&] { metadata.get<std::uint64_t>("i8"); }, "'i8' is out of range");
  expect_refused([&] { metadata.get<std::int64_t>("u64"); }, "'u64' is out of range");
  expect_refused([&] { metadata.get<int>("i64"); }, "'i64' is out of range");
  expect_refused([&] { metadata.get_array<std::uint16_t>("array"); }, "'array' is out of range");
}

TEST(GgufMetadata, missing_keys_are_nothing_or_an_error_that_names_them) {
  const GgufImage image = every_kind();
  const GgufFile file = opened(image);
  const GgufMetadata& metadata = file.metadata();
  EXPECT_FALSE(metadata.has("none"));
  EXPECT_EQ(metadata.find<int>("none"), std::nullopt);
  EXPECT_EQ(metadata.find_array<int>("none"), std::nullopt);
  EXPECT_EQ(metadata.find<int>("u8"), 200);
  EXPECT_THAT(*metadata.find_array<int>("array"), ElementsAre(-1, 0, 1));
  expect_refused([&] { metadata.get<int>("none"); }, "no key 'none' (image)");
  expect_refused([&] { metadata.get_array<int>("none"); }, "no key 'none'");
  expect_refused([&] { metadata.strings("none"); }, "no key 'none'");
}

TEST(GgufMetadata, other_types_are_errors_that_name_key_and_types) {
  const GgufImage image = every_kind();
  const GgufFile file = opened(image);
  const GgufMetadata& metadata = file.metadata();
  expect_refused([&] { metadata.get<int>("f32"); },
                 "'f32' has the type f32 in place of an integer");
  expect_refused([&] { metadata.get<int>("bool"); }, "'bool' has the type boolean");
  expect_refused([&] { metadata.get<int>("string"); }, "'string' has the type string");
  expect_refused([&] { metadata.get<bool>("u8"); }, "type u8 in place of a truth value");
  expect_refused([&] { metadata.get<double>("string"); }, "type string in place of a number");
  expect_refused([&] { metadata.get<std::string_view>("i8"); }, "type i8 in place of a string");
  expect_refused([&] { metadata.find<int>("array"); },
                 "type array of i16 in place of a single value");
  expect_refused([&] { metadata.get_array<int>("u8"); }, "type u8 in place of an array");
  expect_refused([&] { metadata.get_array<bool>("array"); },
                 "array of i16 in place of a truth value");
  expect_refused([&] { metadata.strings("array"); },
                 "array of i16 in place of an array of strings");
}

TEST(GgufMetadata, arrays_hold_strings_truth_values_and_arrays) {
  GgufImage image = GgufImage::with(0, 5);
  image.key("tokens", kArray).u32(kString).u64(3).string("a").string("").string("c d");
  image.key("flags", kArray).u32(kBool).u64(2).u8(0).u8(1);
  image.key("empty", kArray).u32(kF64).u64(0);
  image.key("no_strings", kArray).u32(kString).u64(0);
  image.key("nested", kArray).u32(kArray).u64(2);
  image.u32(kU8).u64(1).u8(7).u32(kArray).u64(1).u32(kString).u64(1).string("deep");
  const GgufFile file = opened(image);
  const GgufMetadata& metadata = file.metadata();
  EXPECT_THAT(metadata.strings("tokens"), ElementsAre("a", "", "c d"));
  EXPECT_THAT(metadata.get_array<std::string_view>("tokens"), ElementsAre("a", "", "c d"));
  EXPECT_THAT(metadata.get_array<bool>("flags"), ElementsAre(false, true));
  EXPECT_THAT(metadata.get_array<int>("empty"), IsEmpty());
  EXPECT_THAT(metadata.strings("empty"), IsEmpty());
  EXPECT_THAT(metadata.strings("no_strings"), IsEmpty());
  const auto& nested = std::get<GgufArray>(metadata.find_entry("nested")->value);
  EXPECT_EQ(nested.arrays[0].item(0), GgufScalar(std::uint64_t{7}));
  EXPECT_EQ(nested.arrays[1].arrays[0].item(0), GgufScalar(std::string_view("deep")));
  expect_refused([&] { metadata.get_array<int>("nested"); }, "an array of plain values");
}

TEST(GgufMetadata, refuses_counts_and_lengths_that_the_file_cannot_hold) {
  for (const std::uint64_t count : {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1} << 32,
                                    std::uint64_t{1} << 60, std::uint64_t{1} << 63, UINT64_MAX}) {
    expect_image_refused(GgufImage::with(0, count), "metadata keys");
    expect_image_refused(
        GgufImage::with(0, 1).u64(count > 4 ? count : 40).raw("abcd").u32(kU8).u8(0),
        "more bytes are due");
    expect_image_refused(
        GgufImage::with(0, 1).key("k", kString).u64(count > 4 ? count : 5).raw("abcd"),
        "more bytes are due");
    for (const std::uint32_t kind : {kU8, kI16, kF32, kU64, kBool, kString, kArray}) {
      expect_image_refused(GgufImage::with(0, 1).key("k", kArray).u32(kind).u64(count),
                           "array items");
    }
  }
  // A count whose product with the item size wraps around to something small.
  expect_image_refused(
      GgufImage::with(0, 1).key("k", kArray).u32(kU64).u64((std::uint64_t{1} << 61) + 1).u64(0),
      "array items");
}

TEST(GgufMetadata, refuses_unknown_kinds_and_odd_truth_values) {
  expect_image_refused(GgufImage::with(0, 1).key("k", 13).u64(0), "unknown kind 13");
  expect_image_refused(GgufImage::with(0, 1).key("k", UINT32_MAX).u64(0), "unknown kind");
  expect_image_refused(GgufImage::with(0, 1).key("k", kArray).u32(77).u64(0), "under the key 'k'");
  expect_image_refused(GgufImage::with(0, 1).key("k", kBool).u8(2), "neither 0 nor 1");
  expect_image_refused(GgufImage::with(0, 1).key("k", kArray).u32(kBool).u64(2).u8(1).u8(255),
                       "neither 0 nor 1");
}

TEST(GgufMetadata, refuses_duplicate_and_overlong_keys) {
  expect_image_refused(GgufImage::with(0, 2).key("k", kU8).u8(1).key("k", kU8).u8(1),
                       "has the key 'k' twice");
  expect_image_refused(GgufImage::with(0, 1).key(std::string(65536, 'k'), kU8).u8(1),
                       "longer than 65535 bytes");
}

TEST(GgufMetadata, refuses_arrays_nested_too_deeply) {
  const auto nested = [](int depth) {
    GgufImage image = GgufImage::with(0, 1);
    image.key("k", kArray);
    for (int i = 1; i < depth; ++i) image.u32(kArray).u64(1);
    return image.u32(kU8).u64(1).u8(5);
  };
  EXPECT_NO_THROW(opened(nested(1)));
  EXPECT_NO_THROW(opened(nested(4)));
  expect_image_refused(nested(5), "arrays nested too deeply under the key 'k'");
  expect_image_refused(nested(100000), "arrays nested too deeply under the key 'k'");
}

TEST(GgufMetadata, refuses_more_keys_than_anyone_needs) {
  GgufImage image = GgufImage::with(0, 70000);
  for (int i = 0; i < 70000; ++i) image.key(std::to_string(i), kU8).u8(0);
  expect_image_refused(image, "more than 65536 metadata keys");
}

TEST(GgufMetadata, floats_keep_infinities_and_nans) {
  GgufImage image = GgufImage::with(0, 2);
  image.key("inf", kF32).number(std::numeric_limits<float>::infinity());
  image.key("nan", kF64).number(std::numeric_limits<double>::quiet_NaN());
  const GgufFile file = opened(image);
  EXPECT_EQ(file.metadata().get<float>("inf"), std::numeric_limits<float>::infinity());
  EXPECT_NE(file.metadata().get<double>("nan"), file.metadata().get<double>("nan"));
}

}  // namespace
