// Tests of reading GGUF files: what they hold, and every way in which they can lie.
#include "core/tensor/gguf.hpp"

#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/gguf_image.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;
using testing::ElementsAre;

constexpr std::uint32_t kU32 = 4, kString = 8, kArray = 9, kF32Type = 0, kQ4_1 = 3, kQ8_0 = 8;

GgufFile opened(const GgufImage& image) {
  return GgufFile::from_bytes(image.bytes(), "image");
}

void expect_image_refused(const GgufImage& image, const std::string& part) {
  expect_refused([&] { opened(image); }, part);
}

/// Two tensors: "a" [2, 3] F32 at 64, "b" [2, 32] Q4_1 (40 bytes) at 0.
GgufImage two_tensors(std::uint32_t version = 3) {
  GgufImage image = GgufImage::with(2, 3, version);
  image.key("general.architecture", kString).string("test");
  image.key("count", kU32).u32(5);
  image.key("tokens", kArray).u32(kString).u64(2).string("x").string("yy");
  image.tensor("a", {3, 2}, kF32Type, 64).tensor("b", {32, 2}, kQ4_1, 0);
  return image.data(64 + 24);
}

/// One F32 tensor "x" of these dimensions, with `data_bytes` of data behind the list.
GgufImage one_tensor(const std::vector<std::uint64_t>& dimensions, std::size_t data_bytes,
                     std::uint32_t type = kF32Type, std::uint64_t offset = 0) {
  return GgufImage::with(1, 0).tensor("x", dimensions, type, offset).data(data_bytes);
}

TEST(Gguf, lists_tensors_with_shapes_outermost_first) {
  for (const std::uint32_t version : {2U, 3U}) {
    const GgufImage image = two_tensors(version);
    const GgufFile file = opened(image);
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.metadata().get<std::string_view>("general.architecture"), "test");
    ASSERT_EQ(file.tensors().size(), 2U);
    const GgufTensor& a = file.tensors()[0];
    EXPECT_EQ(a.name, "a");
    EXPECT_EQ(a.type, GgufType::f32);
    EXPECT_THAT(a.shape, ElementsAre(2, 3));
    EXPECT_EQ(a.elements(), 6);
    EXPECT_EQ(a.data.size(), 24U);
    EXPECT_EQ(a.data[0], std::byte{64});
    EXPECT_EQ(a.row_bytes(1, 1).data(), a.data.data() + 12);
    const GgufTensor& b = file.at("b");
    EXPECT_EQ(b.data.size(), 40U);
    EXPECT_EQ(b.row_bytes(1, 1).size(), 20U);
    EXPECT_EQ(b.row_bytes(1, 1)[0], std::byte{20});
    EXPECT_EQ(file.find("c"), nullptr);
    expect_refused([&] { file.at("c"); }, "there is no tensor 'c' (image)");
  }
}

TEST(Gguf, views_survive_moving_the_file) {
  const GgufImage image = two_tensors();
  GgufFile file = opened(image);
  const GgufTensor* b = file.find("b");
  const GgufFile moved = std::move(file);
  EXPECT_EQ(moved.find("b"), b);
  EXPECT_EQ(moved.metadata().get<int>("count"), 5);
}

TEST(Gguf, opens_files_and_releases_their_pages) {
  const TemporaryFolder folder;
  const GgufFile file = GgufFile::open(folder.write("a.gguf", two_tensors().bytes()));
  file.release(file.at("a"));
  EXPECT_EQ(file.at("a").data[0], std::byte{64});
  expect_refused([&] { GgufFile::open(folder.path()); }, "is a folder");
  expect_refused([&] { GgufFile::open(folder.write("empty", "")); }, "ends at byte 0");
}

TEST(Gguf, accepts_what_the_format_allows) {
  EXPECT_TRUE(opened(GgufImage::with(0, 0)).tensors().empty());
  const GgufImage scalar = one_tensor({}, 4);
  EXPECT_EQ(opened(scalar).at("x").elements(), 1);
  const GgufImage empty = one_tensor({0, 5}, 0);
  EXPECT_EQ(opened(empty).at("x").elements(), 0);
  const GgufImage longer = one_tensor({4}, 100);
  EXPECT_EQ(opened(longer).at("x").data.size(), 16U);
}

TEST(Gguf, honours_the_alignment_key) {
  GgufImage image = GgufImage::with(2, 1);
  image.key("general.alignment", kU32).u32(128);
  image.tensor("x", {4}, kF32Type, 0).tensor("y", {1}, kF32Type, 128).data(132, 128);
  const GgufFile file = opened(image);
  EXPECT_EQ(file.at("y").data[0], std::byte{128});
  EXPECT_EQ((file.at("x").data.data() - image.bytes().data()) % 128, 0);
  for (const std::uint32_t alignment : {0U, 1U, 4U, 24U, 33U, 1U << 21, 1U << 31, UINT32_MAX}) {
    expect_image_refused(GgufImage::with(0, 1).key("general.alignment", kU32).u32(alignment),
                         "general.alignment is " + std::to_string(alignment));
  }
  expect_image_refused(GgufImage::with(0, 1).key("general.alignment", kString).string("32"),
                       "'general.alignment' has the type string");
}

TEST(Gguf, refuses_other_formats_versions_and_byte_orders) {
  expect_image_refused(GgufImage().raw("GGML").u32(3).u64(0).u64(0), "does not begin with 'GGUF'");
  expect_image_refused(GgufImage::with(0, 0, 1), "the GGUF version 1, not 2 or 3");
  expect_image_refused(GgufImage::with(0, 0, 0), "version 0");
  expect_image_refused(GgufImage::with(0, 0, 4), "use a newer release");
  expect_image_refused(GgufImage::with(0, 0, UINT32_MAX), "version 4294967295");
  expect_image_refused(GgufImage::with(0, 0, 0x03000000), "written for big-endian machines");
  expect_image_refused(GgufImage::with(0, 0, 0x02000000), "little-endian form");
}

TEST(Gguf, refuses_element_types_it_cannot_read_by_name) {
  expect_image_refused(one_tensor({256}, 300, 23), "'x' that has the element type IQ4_XS");
  expect_image_refused(one_tensor({256}, 300, 9), "the element type Q8_1");
  expect_image_refused(one_tensor({256}, 300, 4), "the element type 4,");
  expect_image_refused(one_tensor({256}, 300, 5000), "the element type 5000,");
}

TEST(Gguf, refuses_shapes_that_lie) {
  expect_image_refused(one_tensor({5}, 16), "takes 20 bytes");
  expect_image_refused(one_tensor({UINT64_MAX}, 16), "impossible shape [-1] for F32");
  expect_image_refused(one_tensor({1ULL << 63}, 16), "impossible shape");
  expect_image_refused(one_tensor({1ULL << 32, 1ULL << 32}, 16), "impossible shape");
  expect_image_refused(one_tensor({0, 1ULL << 62, 1ULL << 62}, 16), "impossible shape");
  expect_image_refused(one_tensor({1ULL << 62}, 16), "more elements than a file can hold");
  expect_image_refused(one_tensor({1ULL << 60}, 16), "takes 4611686018427387904 bytes");
  expect_image_refused(one_tensor({1, 1, 1, 1, 1}, 16), "has 5 dimensions, more than 4");
  expect_image_refused(GgufImage::with(1, 0).string("x").u32(UINT32_MAX).u64(1).u64(1),
                       "has 4294967295 dimensions");
  expect_image_refused(one_tensor({31}, 100, kQ8_0), "impossible shape [31] for Q8_0");
  expect_image_refused(one_tensor({16, 2}, 100, kQ8_0), "impossible shape [2, 16] for Q8_0");
  expect_image_refused(one_tensor({}, 100, kQ8_0), "impossible shape [] for Q8_0");
  expect_image_refused(one_tensor({128, 2}, 300, 12), "for Q4_K");
}

TEST(Gguf, refuses_offsets_that_lie) {
  expect_image_refused(one_tensor({4}, 64, kF32Type, 1),
                       "begins at byte 1 of the data, no multiple");
  expect_image_refused(one_tensor({4}, 64, kF32Type, 16), "no multiple of 32");
  expect_image_refused(one_tensor({4}, 64, kF32Type, 64), "takes 16 bytes from byte 64");
  expect_image_refused(one_tensor({4}, 64, kF32Type, 1ULL << 40), "takes 16 bytes");
  expect_image_refused(one_tensor({4}, 64, kF32Type, 0 - 32ULL), "takes 16 bytes");
  // The list ends where the file does: no data, and none claimed but by the tensor.
  expect_image_refused(GgufImage::with(1, 0).tensor("x", {4}, kF32Type, 0), "the file has 0");
}

TEST(Gguf, refuses_overlaps_and_duplicates) {
  const auto two = [](const char* second_name, std::uint64_t second_offset) {
    GgufImage image = GgufImage::with(2, 0);
    image.tensor("x", {16}, kF32Type, 0).tensor(second_name, {8}, kF32Type, second_offset);
    return image.data(128);
  };
  EXPECT_NO_THROW(opened(two("y", 64)));
  expect_image_refused(two("y", 0), "overlap");
  expect_image_refused(two("y", 32), "the tensors 'x' and 'y' overlap");
  expect_image_refused(two("x", 64), "has a tensor 'x' twice");
}

TEST(Gguf, refuses_tensor_counts_and_names_that_the_file_cannot_hold) {
  for (const std::uint64_t count :
       {std::uint64_t{1}, std::uint64_t{1} << 32, std::uint64_t{1} << 60, UINT64_MAX}) {
    expect_image_refused(GgufImage::with(count, 0).u64(0), "tensors at byte");
  }
  expect_image_refused(GgufImage::with(1, 0).u64(1ULL << 50).u64(0).u64(0), "more bytes are due");
  expect_image_refused(GgufImage::with(1, 0).tensor(std::string(65536, 'n'), {4}, 0, 0).data(16),
                       "longer than 65535 bytes");
}

TEST(Gguf, refuses_every_truncation) {
  const GgufImage::Bytes whole = two_tensors().bytes();
  const std::size_t needed = whole.size();
  ASSERT_GT(needed, 300U);
  for (std::size_t size = 0; size < needed; ++size) {
    // A copy of exactly this size, so that a sanitizer sees reads behind its end.
    const GgufImage::Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused([&] { GgufFile::from_bytes(part, "image"); }, "(image)");
  }
}

TEST(Gguf, survives_every_single_byte_change_in_front_of_the_data) {
  const GgufImage::Bytes whole = two_tensors().bytes();
  int accepted = 0;
  for (std::size_t i = 0; i < whole.size() - 88; ++i) {
    for (const int change : {1, 2, 8, 64, 128, 255}) {
      GgufImage::Bytes changed = whole;
      changed[i] ^= static_cast<std::byte>(change);
      try {
        const GgufFile file = GgufFile::from_bytes(changed, "image");
        for (const GgufTensor& tensor : file.tensors()) {
          if (tensor.data.empty()) continue;
          EXPECT_GE(tensor.data.data(), changed.data());
          EXPECT_LE(tensor.data.data() + tensor.data.size(), changed.data() + changed.size());
        }
        ++accepted;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::bad_input);
      }
    }
  }
  EXPECT_GT(accepted, 0);  // Changes within names are legal.
}

}  // namespace
