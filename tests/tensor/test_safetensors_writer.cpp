// Tests of writing safetensors files.
#include "core/tensor/safetensors_writer.hpp"

#include "core/tensor/safetensors.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::byte> bytes_counting_from(int first, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<std::byte>(static_cast<std::size_t>(first) + i);
  }
  return bytes;
}

TEST(SafetensorsWriter, writes_what_the_reader_reads) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  const std::vector<TensorInfo> tensors = {{"z", DType::f32, {2, 3}},
                                           {"none", DType::bf16, {0, 4}},
                                           {"\u00e9\"\n", DType::u8, {5}},
                                           {"one", DType::boolean, {}},
                                           {"last", DType::f16, {7, 0}}};
  SafetensorsWriter writer(path, tensors, {{"format", "mlx"}});
  const auto z = bytes_counting_from(0, 24);
  writer.write("z", std::span(z).first(7));
  writer.write("z", std::span(z).subspan(7));
  writer.write("none", {});
  writer.write("\u00e9\"\n", bytes_counting_from(100, 5));
  writer.write("one", bytes_counting_from(1, 1));
  writer.commit();

  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.metadata().at("format"), "mlx");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const TensorInfo& tensor : tensors) {
    EXPECT_EQ(file.at(tensor.name).dtype, tensor.dtype);
    EXPECT_EQ(file.at(tensor.name).shape, tensor.shape);
  }
  EXPECT_TRUE(std::ranges::equal(file.at("z").data, z));
  EXPECT_EQ(file.at("\u00e9\"\n").data[4], std::byte{104});
  EXPECT_EQ(file.at("one").data[0], std::byte{1});
}

TEST(SafetensorsWriter, aligns_the_data_with_spaces_after_the_header) {
  const TemporaryFolder folder;
  for (int length = 1; length < 10; ++length) {
    const auto path = folder.path() / "a";
    const std::string name(static_cast<std::size_t>(length), 'n');
    SafetensorsWriter writer(path, {{name, DType::u8, {1}}});
    writer.write(name, bytes_counting_from(7, 1));
    writer.commit();
    const std::string text = read_text(path);
    std::uint64_t header = 0;
    std::memcpy(&header, text.data(), 8);
    EXPECT_EQ(header % 8, 0U);
    EXPECT_EQ(text.size(), 8 + header + 1);
    const std::string expected =
        "{\"" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
    EXPECT_EQ(text.substr(8, expected.size()), expected);
    EXPECT_EQ(text.substr(8 + expected.size(), header - expected.size()),
              std::string(header - expected.size(), ' '));
  }
}

TEST(SafetensorsWriter, writes_files_without_tensors) {
  const TemporaryFolder folder;
  SafetensorsWriter(folder.path() / "a", {}).commit();
  EXPECT_TRUE(SafetensorsFile::open(folder.path() / "a").tensors().empty());
}

TEST(SafetensorsWriter, leaves_nothing_behind_without_commit) {
  const TemporaryFolder folder;
  {
    SafetensorsWriter writer(folder.path() / "a", {{"x", DType::u8, {1}}});
    writer.write("x", bytes_counting_from(0, 1));
  }
  expect_refused(
      [&] {
        SafetensorsWriter(folder.path() / "a", {{"\xff", DType::u8, {1}}});
      },
      "not UTF-8");
  EXPECT_THAT(folder.list(), IsEmpty());
}

TEST(SafetensorsWriter, replaces_a_file_that_is_being_read) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a";
  for (int round = 0; round < 2; ++round) {
    SafetensorsWriter writer(path, {{"x", DType::u8, {1}}});
    writer.write("x", bytes_counting_from(round, 1));
    if (round == 0) {
      writer.commit();
      continue;
    }
    const SafetensorsFile old = SafetensorsFile::open(path);
    writer.commit();
    EXPECT_EQ(old.at("x").data[0], std::byte{0});
  }
  EXPECT_EQ(SafetensorsFile::open(path).at("x").data[0], std::byte{1});
  EXPECT_THAT(folder.list(), ElementsAre("a"));
}

TEST(SafetensorsWriter, refuses_bytes_out_of_order_or_number) {
  const TemporaryFolder folder;
  const auto one = bytes_counting_from(0, 1);
  SafetensorsWriter writer(folder.path() / "a", {{"x", DType::u8, {2}}, {"y", DType::u8, {1}}});
  const auto internal = ErrorCode::internal;
  expect_refused([&] { writer.write("y", one); }, "'y' is written before 'x'", internal);
  writer.write("x", one);
  expect_refused([&] { writer.write("x", bytes_counting_from(0, 2)); }, "more bytes", internal);
  expect_refused([&] { writer.commit(); }, "'x' is not complete", internal);
  writer.write("x", one);
  expect_refused([&] { writer.write("x", one); }, "'x' is written before 'y'", internal);
  writer.write("y", one);
  expect_refused([&] { writer.write("y", one); }, "after the last one", internal);
}

TEST(SafetensorsWriter, refuses_declarations_that_no_file_can_hold) {
  const TemporaryFolder folder;
  const auto expect_declaration_refused = [&](std::vector<TensorInfo> tensors,
                                              const std::string& part) {
    expect_refused([&] { SafetensorsWriter(folder.path() / "a", std::move(tensors)); }, part,
                   ErrorCode::internal);
  };
  expect_declaration_refused({{"x", DType::u8, {1}}, {"x", DType::u8, {1}}}, "twice");
  expect_declaration_refused({{"__metadata__", DType::u8, {1}}}, "twice");
  expect_declaration_refused({{"x", DType::u8, {-1}}}, "shape [-1]");
  expect_declaration_refused({{"x", DType::f64, {INT64_MAX}}}, "shape");
  expect_declaration_refused({{"x", DType::u8, {INT64_MAX, 2}}}, "shape");
  expect_declaration_refused({{"x", DType::u8, std::vector<std::int64_t>(9, 1)}}, "shape");
  expect_declaration_refused(
      {{"x", DType::u8, {INT64_MAX}}, {"y", DType::u8, {INT64_MAX}}, {"z", DType::u8, {2}}},
      "too large");
}

}  // namespace
