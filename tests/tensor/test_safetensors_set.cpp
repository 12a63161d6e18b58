// Tests of opening model folders.
#include "core/tensor/safetensors_set.hpp"

#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"
#include "tests/tensor/safetensors_image.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;
using testing::ElementsAre;

/// A file that holds one-byte tensors of these names.
Bytes file_with(const std::vector<std::string>& names) {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) header += ',';
    header += "\"" + names[i] + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
              std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  return safetensors_image(header + "}", names.size());
}

std::vector<std::string> names_of(const SafetensorsSet& set) {
  std::vector<std::string> names;
  for (const TensorView* tensor : set.tensors()) names.emplace_back(tensor->name);
  return names;
}

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kFirst = "model-00001-of-00002.safetensors";
constexpr const char* kSecond = "model-00002-of-00002.safetensors";

/// A folder with two shards, and an index with this weight_map.
struct ShardedFolder : TemporaryFolder {
  explicit ShardedFolder(const std::string& weight_map) {
    write(kFirst, file_with({"d", "c"}));
    write(kSecond, file_with({"b", "a"}));
    write(kIndex, R"({"metadata":{"total_size":4,"x":[{}]},"weight_map":)" + weight_map + "}");
  }
};

constexpr const char* kGoodMap = R"({"a":"model-00002-of-00002.safetensors",)"
                                 R"("d":"model-00001-of-00002.safetensors"})";

TEST(SafetensorsSet, opens_a_single_file_whatever_else_lies_there) {
  const ShardedFolder folder("{}");
  folder.write("model.safetensors", file_with({"x", "y"}));
  EXPECT_THAT(names_of(SafetensorsSet::open(folder.path())), ElementsAre("x", "y"));
}

TEST(SafetensorsSet, opens_the_shards_of_an_index) {
  const ShardedFolder folder(kGoodMap);
  folder.write("model-extra.safetensors", file_with({"a"}));
  SafetensorsSet set = SafetensorsSet::open(folder.path());
  EXPECT_THAT(names_of(set), ElementsAre("d", "c", "b", "a"));
  EXPECT_EQ(set.files().size(), 2U);
  const TensorView* a = set.find("a");
  EXPECT_EQ(a->data[0], std::byte{1});
  EXPECT_EQ(set.find("e"), nullptr);
  expect_refused([&] { set.at("e"); }, "there is no tensor 'e' (" + folder.path().string());
  set.release(*a);
  const SafetensorsSet moved = std::move(set);
  EXPECT_EQ(moved.find("a"), a);
  EXPECT_EQ(a->data[0], std::byte{1});
}

TEST(SafetensorsSet, opens_files_by_pattern_where_there_is_no_index) {
  const TemporaryFolder folder;
  folder.write("model-2.safetensors", file_with({"b"}));
  folder.write("model-1.safetensors", file_with({"z"}));
  folder.write("mtp.safetensors", file_with({"z"}));
  folder.write("model-1.safetensors.tmp", "half written");
  EXPECT_THAT(names_of(SafetensorsSet::open(folder.path())), ElementsAre("z", "b"));
}

TEST(SafetensorsSet, refuses_a_name_in_two_shards) {
  const TemporaryFolder folder;
  folder.write("model-1.safetensors", file_with({"a", "b"}));
  folder.write("model-2.safetensors", file_with({"b", "c"}));
  expect_refused([&] { SafetensorsSet::open(folder.path()); }, "two files hold tensor 'b'");
}

TEST(SafetensorsSet, refuses_a_missing_shard) {
  const ShardedFolder folder(kGoodMap);
  std::filesystem::remove(folder.path() / kSecond);
  expect_refused([&] { SafetensorsSet::open(folder.path()); },
                 "the shard 'model-00002-of-00002.safetensors' is missing");
}

TEST(SafetensorsSet, refuses_a_tensor_that_is_not_in_its_shard) {
  const ShardedFolder folder(R"({"a":"model-00001-of-00002.safetensors"})");
  expect_refused([&] { SafetensorsSet::open(folder.path()); },
                 "tensor 'a' is not in 'model-00001-of-00002.safetensors'");
}

TEST(SafetensorsSet, refuses_shards_outside_the_folder) {
  for (const std::string name :
       {"../model.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "..safetensors",
        ".safetensors", "", "a.bin", "a..safetensors", "a\\u0000.safetensors"}) {
    const ShardedFolder folder(R"({"a":")" + name + R"("})");
    expect_refused([&] { SafetensorsSet::open(folder.path()); },
                   "which is not the name of a safetensors file in this folder");
  }
}

TEST(SafetensorsSet, refuses_a_malformed_index) {
  const auto expect_index_refused = [](const std::string& text, const std::string& part) {
    const TemporaryFolder folder;
    folder.write(kIndex, text);
    expect_refused([&] { SafetensorsSet::open(folder.path()); }, part);
  };
  expect_index_refused("", "not valid JSON");
  expect_index_refused("[]", "an array in place of an object");
  expect_index_refused("5", "a number in place of an object");
  expect_index_refused("{}", "has no weight_map");
  expect_index_refused(R"({"weight_map":{}})", "has no weight_map");
  expect_index_refused(R"({"weight_map":[]})", "an array in place of 'weight_map'");
  expect_index_refused(R"({"weight_map":"x"})", "a string in place of 'weight_map'");
  expect_index_refused(R"({"weight_map":{"a":5}})", "a number in place of the file name");
  expect_index_refused(R"({"weight_map":{"a":null}})", "null in place of the file name");
  expect_index_refused(R"({"weight_map":{"a":["x"]}})", "an array in place of the file name");
  expect_index_refused(R"({"weight_map":{"a":{}}})", "an object in place of the file name");
  expect_index_refused(R"({"weight_map":{"a":"m.safetensors","a":"m.safetensors"}})", "'a' twice");
  expect_index_refused(R"({"weight_map":{"a":"m.safetensors"},"weight_map":{}})",
                       "two weight_maps");
  std::string deep = "{\"metadata\":";
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  expect_index_refused(deep, "values nested too deeply");
}

TEST(SafetensorsSet, refuses_folders_without_weights) {
  const TemporaryFolder folder;
  folder.write("one.safetensors", file_with({"a"}));
  folder.write("two.safetensors", file_with({"b"}));
  expect_refused([&] { SafetensorsSet::open(folder.path()); }, "there is no model.safetensors");
  expect_refused([&] { SafetensorsSet::open(folder.path() / "none"); }, "there is no such folder");
  expect_refused([&] { SafetensorsSet::open(folder.path() / "one.safetensors"); },
                 "is not a folder");
  expect_refused([&] { SafetensorsSet::open(folder.path() / "one.safetensors" / "x"); }, "folder");
}

TEST(SafetensorsSet, opens_the_only_file_of_another_name_and_weights_before_others) {
  const TemporaryFolder folder;
  folder.write("other.safetensors", file_with({"a"}));
  EXPECT_NE(SafetensorsSet::open(folder.path()).find("a"), nullptr);
  folder.write("weights.safetensors", file_with({"b"}));
  const auto set = SafetensorsSet::open(folder.path());
  EXPECT_EQ(set.find("a"), nullptr);
  EXPECT_NE(set.find("b"), nullptr);
}

TEST(SafetensorsSet, opens_the_reference_folders) {
  const std::filesystem::path reference = std::filesystem::path(QUIVER_SHARED_DIR) / "reference";
  const auto set = SafetensorsSet::open(reference / "convert" / "llama_a" / "converted");
  EXPECT_EQ(set.files().front().metadata().at("format"), "mlx");
  EXPECT_NE(set.find("model.norm.weight"), nullptr);
}

}  // namespace
