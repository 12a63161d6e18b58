// Tests of reading safetensors files: what they hold, and every way in which a header can lie.
#include "core/tensor/safetensors.hpp"

#include "core/tensor/half.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"
#include "tests/tensor/safetensors_image.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;

using Shape = std::vector<std::int64_t>;

constexpr const char* kTwoTensors =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("a":{"dtype":"U8","shape":[5],"data_offsets":[24,29]}})";

/// A header with one entry, `fields` between its braces.
std::string entry(const std::string& fields) {
  return "{\"x\":{" + fields + "}}";
}

void expect_header_refused(const std::string& header, std::size_t data_bytes,
                           const std::string& part) {
  const Bytes bytes = safetensors_image(header, data_bytes);
  expect_refused([&] { SafetensorsFile::from_bytes(bytes, "image"); }, part);
}

TEST(Safetensors, lists_tensors_in_the_order_of_their_data) {
  const OwnedSafetensors owned(kTwoTensors, 29);
  ASSERT_EQ(owned.file.tensors().size(), 2U);
  const TensorView& b = owned.file.tensors()[0];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, DType::f32);
  EXPECT_EQ(b.shape, (Shape{2, 3}));
  EXPECT_EQ(b.elements(), 6);
  EXPECT_EQ(b.rows(), 2);
  EXPECT_EQ(b.columns(), 3);
  EXPECT_EQ(b.data.size(), 24U);
  EXPECT_EQ(b.row_bytes(1, 1).data(), b.data.data() + 12);
  EXPECT_EQ(owned.file.tensors()[1].name, "a");
  EXPECT_EQ(owned.file.tensors()[1].data[0], std::byte{24});
  EXPECT_EQ(owned.file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(Safetensors, finds_tensors_by_name) {
  const OwnedSafetensors owned(kTwoTensors, 29);
  EXPECT_EQ(&owned.file.at("a"), owned.file.find("a"));
  EXPECT_EQ(owned.file.find("c"), nullptr);
  EXPECT_EQ(owned.file.find(""), nullptr);
  expect_refused([&] { owned.file.at("c\n"); }, "there is no tensor 'c\\x0a' (image)");
}

TEST(Safetensors, views_survive_moving_the_file) {
  OwnedSafetensors owned(kTwoTensors, 29);
  const TensorView* view = owned.file.find("a");
  const SafetensorsFile moved = std::move(owned.file);
  EXPECT_EQ(moved.find("a"), view);
  EXPECT_EQ(view->name, "a");
}

TEST(Safetensors, accepts_what_the_format_allows) {
  EXPECT_TRUE(OwnedSafetensors("{}", 0).file.tensors().empty());
  EXPECT_TRUE(OwnedSafetensors("{}      ", 0).file.tensors().empty());
  EXPECT_TRUE(OwnedSafetensors(R"({"__metadata__":null})", 0).file.metadata().empty());
  const OwnedSafetensors scalar(entry(R"("dtype":"I64","shape":[],"data_offsets":[0,8])"), 8);
  EXPECT_EQ(scalar.file.at("x").elements(), 1);
  const OwnedSafetensors empty(entry(R"("shape":[0,7],"data_offsets":[0,0],"dtype":"F16")"), 0);
  EXPECT_EQ(empty.file.at("x").elements(), 0);
  const OwnedSafetensors future(
      entry(
          R"("new":{"a":[1,{"b":null}],"c":-1.5},"dtype":"BOOL","shape":[1],"data_offsets":[0,1])"),
      1);
  EXPECT_EQ(future.file.at("x").dtype, DType::boolean);
  const OwnedSafetensors escaped(R"({"\u00e9\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                                 1);
  EXPECT_NE(escaped.file.find("\u00e9\n"), nullptr);
}

TEST(Safetensors, knows_the_size_of_every_element_type) {
  const std::vector<std::pair<std::string, int>> sizes = {
      {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
      {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
  for (const auto& [name, size] : sizes) {
    const std::string end = std::to_string(3 * size);
    const OwnedSafetensors owned(
        entry(R"("dtype":")" + name + R"(","shape":[3],"data_offsets":[0,)" + end + "]"),
        static_cast<std::size_t>(3 * size));
    EXPECT_EQ(dtype_name(owned.file.at("x").dtype), name);
  }
}

TEST(Safetensors, refuses_element_types_it_cannot_read_by_name) {
  for (const std::string type : {"F8_E4M3", "F8_E5M2", "F4", "C64", "f32", ""}) {
    expect_header_refused(entry(R"("dtype":")" + type + R"(","shape":[4],"data_offsets":[0,4])"), 4,
                          "gives tensor 'x' the element type '" + type + "'");
  }
}

TEST(Safetensors, refuses_a_header_length_that_lies) {
  for (const std::uint64_t length :
       {std::uint64_t{43}, std::uint64_t{1000}, std::uint64_t{1} << 20,
        std::uint64_t{100} << 20 | 1, std::uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7}) {
    const Bytes bytes = safetensors_image("{}", 40, length);
    expect_refused([&] { SafetensorsFile::from_bytes(bytes, "image"); },
                   "the header claims " + std::to_string(length) + " bytes");
  }
  const Bytes bytes = safetensors_image("{}", 40, 0);
  expect_refused([&] { SafetensorsFile::from_bytes(bytes, "image"); }, "does not begin with '{'");
}

TEST(Safetensors, refuses_a_header_over_100_mebibytes_without_reading_it) {
  const TemporaryFolder folder;
  const std::uint64_t length = (std::uint64_t{100} << 20) + 1;
  const auto path = folder.write("a", safetensors_image("{}", 0, length));
  std::filesystem::resize_file(path, 2 * length);  // Sparse: it takes no room on the disk.
  expect_refused([&] { SafetensorsFile::open(path); }, "more than 104857600");
}

TEST(Safetensors, refuses_files_too_short_for_a_header) {
  const Bytes bytes = safetensors_image("{}", 0);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused([&] { SafetensorsFile::from_bytes(part, "image"); }, "the");
  }
}

TEST(Safetensors, refuses_offsets_that_lie) {
  const auto offsets = [](const std::string& text) {
    return entry(R"("dtype":"U8","shape":[4],"data_offsets":)" + text);
  };
  expect_header_refused(offsets("[0,1000]"), 4, "tensor 'x' ends at byte 1000 of the data");
  expect_header_refused(offsets("[0,18446744073709551615]"), 4, "ends at byte");
  expect_header_refused(offsets("[18446744073709551614,2]"), 4, "ends before it begins");
  expect_header_refused(offsets("[4,0]"), 4, "ends before it begins");
  expect_header_refused(offsets("[1,5]"), 5, "a gap of 1 bytes");
  expect_header_refused(offsets("[0,3]"), 3, "takes 3 bytes where U8 [4] needs 4");
  expect_header_refused(offsets("[0,5]"), 5, "takes 5 bytes where U8 [4] needs 4");
  expect_header_refused(offsets("[0,4]"), 5, "the tensors end 1 bytes before the file does");
  expect_header_refused(offsets("[-4,0]"), 4,
                        "a negative number in the data_offsets of tensor 'x'");
  expect_header_refused(offsets("[0.0,4]"), 4, "a fraction or an oversized number");
  expect_header_refused(offsets("[0,4e0]"), 4, "a fraction or an oversized number");
  expect_header_refused(offsets("[0,99999999999999999999]"), 4, "an oversized number");
  expect_header_refused(offsets("[0]"), 4, "fewer than two numbers");
  expect_header_refused(offsets("[]"), 4, "fewer than two numbers");
  expect_header_refused(offsets("[0,4,4]"), 4, "more than two numbers");
  expect_header_refused(offsets("4"), 4, "a number as the data_offsets of tensor 'x'");
  expect_header_refused(offsets("null"), 4, "null as the data_offsets");
  expect_header_refused(offsets(R"(["0","4"])"), 4, "a string in the data_offsets");
  expect_header_refused(offsets("[[0,4]]"), 4, "an array in the data_offsets");
  expect_header_refused(offsets("{}"), 4, "an object as the data_offsets");
}

TEST(Safetensors, refuses_shapes_that_lie) {
  const auto shape = [](const std::string& text) {
    return entry(R"("dtype":"F32","shape":)" + text + R"(,"data_offsets":[0,4])");
  };
  expect_header_refused(shape("[2]"), 4, "takes 4 bytes where F32 [2] needs 8");
  expect_header_refused(shape("[-1]"), 4, "a negative number in the shape");
  expect_header_refused(shape("[1.0]"), 4, "a fraction");
  expect_header_refused(shape("[true]"), 4, "a truth value in the shape");
  expect_header_refused(shape("1"), 4, "a number as the shape");
  expect_header_refused(shape("[9223372036854775808]"), 4, "an oversized number");
  expect_header_refused(shape("[4611686018427387905]"), 4, "an impossible shape");
  // Products that come back to one element when they wrap around.
  expect_header_refused(shape("[4294967296,4294967296,1]"), 4, "an impossible shape");
  expect_header_refused(shape("[9223372036854775807,9223372036854775807]"), 4, "impossible shape");
  expect_header_refused(shape("[9223372036854775807,2,0]"), 4, "impossible shape");
  expect_header_refused(shape("[1,1,1,1,1,1,1,1,1]"), 4, "too many dimensions");
}

TEST(Safetensors, refuses_overlaps_gaps_and_duplicates) {
  const auto two = [](const std::string& second_name, const std::string& first,
                      const std::string& second) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first + "},\"" + second_name +
           R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
  };
  EXPECT_EQ(OwnedSafetensors(two("b", "[4,8]", "[0,4]"), 8).file.tensors()[0].name, "b");
  expect_header_refused(two("b", "[0,4]", "[0,4]"), 4, "overlaps another tensor");
  expect_header_refused(two("b", "[0,4]", "[3,7]"), 7, "tensor 'b' overlaps another tensor");
  expect_header_refused(two("b", "[0,4]", "[6,10]"), 10, "tensor 'b' leaves a gap of 2 bytes");
  expect_header_refused(two("a", "[0,4]", "[4,8]"), 8, "gives tensor 'a' twice");
  expect_header_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "the metadata twice");
  expect_header_refused(R"({"__metadata__":{"k":"1","k":"2"}})", 0, "'k' of the metadata twice");
  expect_header_refused(entry(R"("dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4,
                        "'dtype' of tensor 'x' twice");
}

TEST(Safetensors, refuses_missing_fields_and_values_of_other_kinds) {
  expect_header_refused(entry(R"("shape":[4],"data_offsets":[0,4])"), 4, "no dtype for tensor 'x'");
  expect_header_refused(entry(R"("dtype":"U8","data_offsets":[0,4])"), 4, "no shape");
  expect_header_refused(entry(R"("dtype":"U8","shape":[4])"), 4, "no data_offsets");
  expect_header_refused(entry(R"("dtype":5,"shape":[4],"data_offsets":[0,4])"), 4,
                        "a number as the dtype");
  expect_header_refused(R"({"x":5})", 0, "a number in place of tensor 'x'");
  expect_header_refused(R"({"x":null})", 0, "null in place of tensor 'x'");
  expect_header_refused(R"({"x":[]})", 0, "an array in place of tensor 'x'");
  expect_header_refused(R"({"__metadata__":7})", 0, "in place of the metadata");
  expect_header_refused(R"({"__metadata__":{"k":7}})", 0, "the string 'k' of the metadata");
  expect_header_refused(R"({"__metadata__":{"k":{}}})", 0, "the string 'k' of the metadata");
}

TEST(Safetensors, refuses_malformed_json) {
  for (const std::string header :
       {"{", "{\"x\"", "{]", "{}}", "{} x", "{},{}", "{\"x\":{\"dtype\":}}"}) {
    expect_header_refused(header, 0, "not valid JSON");
  }
  expect_header_refused("{\"\xff\":{}}", 0, "not valid JSON");
  expect_header_refused("[]", 0, "does not begin with '{'");
  expect_header_refused("\xEF\xBB\xBF{}", 0, "does not begin with '{'");
  expect_header_refused(" {}", 0, "does not begin with '{'");
  expect_header_refused(std::string("{}\0{", 4), 0, "holds a NUL byte");
}

TEST(Safetensors, refuses_deep_nesting_without_deep_recursion) {
  std::string deep = "{\"x\":{\"new\":";
  for (int i = 0; i < 1000000; ++i) deep += '[';
  expect_header_refused(deep, 0, "values nested too deeply in tensor 'x'");
  std::string objects = "{";
  for (int i = 0; i < 100000; ++i) objects += "\"x\":{";
  expect_header_refused(objects, 0, "values nested too deeply in tensor 'x'");
}

TEST(Safetensors, long_names_do_not_make_long_messages) {
  const std::string name(100000, 'n');
  expect_header_refused("{\"" + name + "\":5}", 0, "nnn...'");
}

TEST(Safetensors, refuses_every_truncation_of_a_file) {
  const Bytes bytes = safetensors_image(kTwoTensors, 29);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused([&] { SafetensorsFile::from_bytes(part, "image"); }, "(image)");
  }
}

TEST(Safetensors, survives_every_single_byte_change_of_a_header) {
  const Bytes bytes = safetensors_image(kTwoTensors, 29);
  const std::size_t header_end = bytes.size() - 29;
  int accepted = 0;
  for (std::size_t i = 0; i < header_end; ++i) {
    for (const int change : {1, 2, 16, 32, 128, 255}) {
      Bytes changed = bytes;
      changed[i] ^= static_cast<std::byte>(change);
      try {
        const auto file = SafetensorsFile::from_bytes(changed, "image");
        for (const TensorView& tensor : file.tensors()) {
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

TEST(Safetensors, opens_files_and_releases_their_pages) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.safetensors", safetensors_image(kTwoTensors, 29));
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.label(), path.string());
  file.release(file.at("a"));
  EXPECT_EQ(file.at("a").data[0], std::byte{24});
  const OwnedSafetensors other(kTwoTensors, 29);
  file.release(other.file.at("a"));
  other.file.release(file.at("a"));
  expect_refused([&] { SafetensorsFile::open(folder.path()); }, "is a folder");
  expect_refused([&] { SafetensorsFile::open(folder.write("empty", "")); }, "has 0 bytes");
}

/// Compares a file with what a second, independent reading of its header says.
void check_reference_file(const std::filesystem::path& path) {
  const std::string raw = read_text(path);
  std::uint64_t length = 0;
  std::memcpy(&length, raw.data(), 8);
  const auto header = nlohmann::json::parse(raw.substr(8, length));
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::size_t count = 0;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      // Some writers say null where they have none.
      const auto given = value.is_null() ? nlohmann::json::object() : value;
      EXPECT_EQ((given.get<std::map<std::string, std::string>>()), file.metadata());
      continue;
    }
    ++count;
    const TensorView& tensor = file.at(name);
    EXPECT_EQ(dtype_name(tensor.dtype), value["dtype"].get<std::string>());
    EXPECT_EQ(tensor.shape, value["shape"].get<Shape>());
    const auto begin = value["data_offsets"][0].get<std::size_t>();
    const auto end = value["data_offsets"][1].get<std::size_t>();
    const std::string expected = raw.substr(8 + length + begin, end - begin);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()),
              expected);
  }
  EXPECT_EQ(file.tensors().size(), count);
  EXPECT_GT(count, 0U);
}

TEST(Safetensors, reads_the_reference_checkpoints) {
  const std::filesystem::path reference = std::filesystem::path(QUIVER_SHARED_DIR) / "reference";
  int files = 0;
  for (const auto& folder : std::filesystem::directory_iterator(reference / "llama")) {
    check_reference_file(folder.path() / "checkpoint" / "model.safetensors");
    ++files;
  }
  EXPECT_GT(files, 5);
  check_reference_file(reference / "affine" / "vectors.safetensors");  // Nothing in it is aligned.
}

}  // namespace
