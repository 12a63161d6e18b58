// Tests that opening a hostile file takes no more memory than its size warrants.
#include "core/tensor/gguf.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/tensor/allocation_count.hpp"
#include "tests/tensor/gguf_image.hpp"
#include "tests/tensor/safetensors_image.hpp"

#include <quiver/error.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using namespace quiver;
using namespace quiver::test;

/// Bytes allocated, whether freed again or not, while `action` runs and fails.
template <class Action>
std::size_t bytes_allocated_by(Action action) {
  const std::size_t before = allocated_bytes();
  EXPECT_THROW(action(), Error);
  return allocated_bytes() - before;
}

std::size_t cost_of(const GgufImage& image) {
  return bytes_allocated_by([&] { GgufFile::from_bytes(image.bytes(), "image"); });
}

/// Enough for messages; a claimed count that were believed would ask for more.
constexpr std::size_t kSmall = 64 * 1024;

TEST(BoundedMemory, counts_that_lie_cost_nothing) {
  for (const std::uint64_t count :
       {std::uint64_t{1} << 20, std::uint64_t{1} << 32, std::uint64_t{1} << 60, UINT64_MAX}) {
    const std::string padding(100, '\0');
    EXPECT_LT(cost_of(GgufImage::with(0, count).raw(padding)), kSmall);
    EXPECT_LT(cost_of(GgufImage::with(count, 0).raw(padding)), kSmall);
    EXPECT_LT(cost_of(GgufImage::with(0, 1).u64(count).raw(padding)), kSmall);
    EXPECT_LT(cost_of(GgufImage::with(0, 1).key("k", 8).u64(count).raw(padding)), kSmall);
    for (std::uint32_t kind = 0; kind <= 12; ++kind) {
      GgufImage image = GgufImage::with(0, 1);
      EXPECT_LT(cost_of(image.key("k", 9).u32(kind).u64(count).raw(padding)), kSmall);
    }
    EXPECT_LT(cost_of(GgufImage::with(1, 0).tensor("x", {count}, 0, 0).data(64)), kSmall);
  }
}

TEST(BoundedMemory, a_small_safetensors_file_that_claims_much_costs_nothing) {
  const Bytes bytes = safetensors_image(
      R"({"x":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}})",
      100);
  ASSERT_LT(bytes.size(), 220U);
  EXPECT_LT(bytes_allocated_by([&] { SafetensorsFile::from_bytes(bytes, "image"); }), kSmall);
  const Bytes lying = safetensors_image("{}", 100, 100ULL << 20);
  EXPECT_LT(bytes_allocated_by([&] { SafetensorsFile::from_bytes(lying, "image"); }), kSmall);
}

TEST(BoundedMemory, large_hostile_headers_cost_a_small_multiple_of_their_size) {
  // Empty inner arrays are the least bytes for the most objects; the file then breaks off.
  GgufImage arrays = GgufImage::with(0, 2);
  arrays.key("k", 9).u32(9).u64(50000);
  for (int i = 0; i < 50000; ++i) arrays.u32(0).u64(0);
  // Vectors that grow by doubling allocate their final size twice over in total.
  EXPECT_LT(cost_of(arrays), 40 * arrays.bytes().size());

  GgufImage strings = GgufImage::with(0, 2);
  strings.key("k", 9).u32(8).u64(100000);
  for (int i = 0; i < 100000; ++i) strings.u64(0);
  EXPECT_LT(cost_of(strings), 10 * strings.bytes().size());

  std::string header = "{";
  for (int i = 0; i < 20000; ++i) {
    header += '"';
    header += std::to_string(i);
    header += R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)";
  }
  const Bytes bytes = safetensors_image(header, 1);
  EXPECT_LT(bytes_allocated_by([&] { SafetensorsFile::from_bytes(bytes, "image"); }),
            20 * bytes.size());
}

}  // namespace
