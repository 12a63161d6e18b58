// Tests of reading NumPy's archives, and that hostile ones are refused within bounded memory.
#include "core/tensor/half.hpp"
#include "core/tensor/npz.hpp"
#include "core/tensor/safetensors_set.hpp"
#include "core/tensor/zip_archive.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/allocation_count.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;

/// An archive that NumPy wrote: plain or packed.
std::string archive(const std::string& name) {
  std::ifstream in(std::string(QUIVER_SOURCE_DIR "/tests/tensor/data/") + name + ".npz",
                   std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

NpzFile read(const std::string& bytes) {
  return NpzFile::from_bytes(std::as_bytes(std::span(bytes)), "some.npz");
}

void put(std::string& bytes, std::size_t at, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes.at(at + i) = static_cast<char>(value >> (8 * i));
  }
}

/// The place of the first record in the directory.
std::size_t directory(const std::string& bytes) {
  return bytes.find("PK\x01\x02");
}

/// An array in the .npy format.
std::string npy(const std::string& header, const std::string& values) {
  std::string text = "\x93NUMPY\x01";
  text += '\0';
  text += static_cast<char>(header.size());
  text += '\0';
  return text + header + values;
}

TensorView array(const std::string& bytes) {
  return read_npy(std::as_bytes(std::span(bytes)), "some.npz, a.npy");
}

constexpr const char* kFour = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";

TEST(Npz, arrays_have_the_values_that_numpy_wrote_packed_or_not) {
  for (const std::string name : {"plain", "packed"}) {
    SCOPED_TRACE(name);
    const std::string bytes = archive(name);
    const NpzFile first = read(bytes);
    ASSERT_EQ(first.tensors().size(), 5U);
    const TensorView& kernel = first.tensors()[0];
    EXPECT_EQ(kernel.name, "model.0.conv.weight");
    EXPECT_EQ(kernel.dtype, DType::f32);
    EXPECT_EQ(kernel.shape, (std::vector<std::int64_t>{2, 3, 1, 4}));
    std::vector<float> values(24);
    to_float(kernel.dtype, kernel.data, values);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], float(i) / 8);
    const TensorView& half = first.tensors()[1];
    values.resize(3);
    to_float(half.dtype, half.data, values);
    EXPECT_EQ(values, (std::vector<float>{0.5F, -2, 65504}));
    EXPECT_EQ(first.tensors()[2].data[299], std::byte{299 - 256});
    EXPECT_EQ(first.tensors()[3].dtype, DType::f64);
    EXPECT_TRUE(first.tensors()[3].shape.empty());
    EXPECT_EQ(first.tensors()[4].elements(), 0);
  }
}

TEST(Npz, is_read_where_a_folder_has_no_safetensors) {
  const TemporaryFolder folder;
  folder.write("weights.npz", std::string_view(archive("packed")));
  folder.write("other.npz", std::string_view("no archive"));
  SafetensorsSet opened = SafetensorsSet::open(folder.path());
  const SafetensorsSet set = std::move(opened);
  EXPECT_EQ(set.at("half").shape, (std::vector<std::int64_t>{3}));
  EXPECT_EQ(set.tensors().size(), 5U);
  set.release(set.at("bytes"));
  EXPECT_EQ(set.at("bytes").data[1], std::byte{1});
  std::filesystem::remove(folder.path() / "weights.npz");
  expect_refused([&] { SafetensorsSet::open(folder.path()); }, "other.npz");
  folder.write("third.npz", std::string_view("which of the two?"));
  expect_refused([&] { SafetensorsSet::open(folder.path()); }, "no model.safetensors");
}

TEST(Npz, that_ends_early_is_refused_wherever_it_ends) {
  const std::string whole = archive("packed");
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_THROW(read(whole.substr(0, size)), Error) << size;
  }
}

TEST(Npz, a_byte_that_is_wrong_gives_arrays_or_one_line) {
  for (const std::string name : {"plain", "packed"}) {
    const std::string whole = archive(name);
    int refused = 0;
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0xFF}) {
        std::string bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ flip);
        try {
          const NpzFile file = read(bytes);
          for (const TensorView& tensor : file.tensors()) {
            EXPECT_EQ(tensor.data.size(),
                      static_cast<std::size_t>(tensor.elements()) * size_bytes(tensor.dtype));
          }
        } catch (const Error& error) {
          ++refused;
          EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        }
      }
    }
    EXPECT_GT(refused, 100) << name;
  }
}

TEST(Npz, archives_that_lie_are_refused_and_cost_little) {
  const std::string whole = archive("packed");
  const std::size_t entry = directory(whole);
  const auto refused = [&](std::size_t at, std::uint64_t value, std::size_t size,
                           const std::string& part) {
    std::string bytes = whole;
    put(bytes, at, value, size);
    const std::size_t before = allocated_bytes();
    expect_refused([&] { read(bytes); }, part);
    EXPECT_LT(allocated_bytes() - before, 1U << 20U) << part;
  };
  refused(entry + 8, 1, 2, "encrypted");
  refused(entry + 10, 12, 2, "another method");
  refused(entry + 24, 0x7FFFFFFF, 4, "a hundred times");  // the size of the contents
  refused(entry + 24, 200U << 20U, 4, "are damaged");     // more than Deflate can make of it
  refused(entry + 24, 100, 4, "are damaged");             // less than there is
  refused(entry + 16, 0, 4, "are damaged");               // the checksum
  refused(entry + 42, 0x7FFFFFFF, 4, "ends outside");     // the place
  refused(entry + 20, 0x7FFFFFFF, 4, "ends outside");     // the size as stored
  const std::size_t end = whole.rfind("PK\x05\x06");
  refused(end + 10, 60000, 2, "ends outside");
  refused(end + 16, 0, 4, "directory is damaged");
}

TEST(Npz, entries_that_share_their_bytes_are_refused) {
  // The second entry's place is made that of the first.
  std::string bytes = archive("packed");
  const std::size_t first = directory(bytes);
  const std::size_t second = bytes.find("PK\x01\x02", first + 4);
  bytes.replace(second + 42, 4, bytes.substr(first + 42, 4));
  bytes.replace(second + 16, 12, bytes.substr(first + 16, 12));
  expect_refused([&] { read(bytes); }, "overlap");
}

TEST(Npz, arrays_that_do_not_fit_are_refused) {
  EXPECT_EQ(array(npy(kFour, std::string(16, 'x'))).elements(), 4);
  EXPECT_EQ(array(npy("{'shape':(1,),'fortran_order':False,'descr':'|u1'}", "x")).elements(), 1);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {npy(kFour, std::string(15, 'x')), "does not fit"},
      {npy(kFour, std::string(17, 'x')), "does not fit"},
      {npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "xxxx"), "'>f4'"},
      {npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "xxxx"), "'|O'"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "xxxx"), "fields"},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "xxxx"), "columns"},
      {npy("{'descr': '<f4', 'shape': (1,), }", "xxxx"), "not complete"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "xxxx"), "damaged"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "x"),
       "does not fit"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", "xxxx"),
       "more than 8"},
      {npy("{'descr': '<f4', 'other': 1}", "xxxx"), "unknown entry"},
      {npy("{", ""), "damaged"},
      {"\x93NUMPY\x01", "NumPy"},
      {"something else", "NumPy"},
      {npy(kFour, "").replace(6, 1, "\x09"), "version"},
  };
  for (const auto& [bytes, message] : cases) {
    expect_refused([&, &image = bytes] { array(image); }, message);
  }
}

}  // namespace
