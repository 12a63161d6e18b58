// Tests of the block decoders against values made by the format's reference package.
#include "core/tensor/gguf_types.hpp"

#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace quiver;

std::vector<std::byte> bytes_from_hex(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

const GgufTypeInfo* type_named(const std::string& name) {
  for (std::uint32_t id = 0; id < 64; ++id) {
    const GgufTypeInfo* info = find_gguf_type(id);
    if (info != nullptr && info->name == name) return info;
  }
  return nullptr;
}

TEST(GgufTypes, random_blocks_decode_to_the_reference_bits) {
  const auto reference = nlohmann::json::parse(
      quiver::test::read_text(QUIVER_SOURCE_DIR "/tests/tensor/data/gguf_blocks.json"));
  std::set<std::string> types;
  for (const auto& one : reference["cases"]) {
    const auto name = one["type"].get<std::string>();
    const GgufTypeInfo* info = type_named(name);
    ASSERT_NE(info, nullptr) << name;
    const auto blocks = bytes_from_hex(one["bytes"].get<std::string>());
    const auto expected = bytes_from_hex(one["float32_bits"].get<std::string>());
    std::vector<float> values(expected.size() / 4);
    dequantize(info->type, blocks, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      float wanted = 0;
      std::memcpy(&wanted, expected.data() + 4 * i, 4);
      if (std::isnan(wanted)) {
        ASSERT_TRUE(std::isnan(values[i])) << name << " element " << i;
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(wanted))
            << name << " element " << i << ": " << values[i] << " in place of " << wanted;
      }
    }
    types.insert(name);
  }
  EXPECT_EQ(types.size(), 13U);
}

TEST(GgufTypes, blocks_decode_alike_at_every_alignment) {
  for (std::uint32_t id = 0; id < 64; ++id) {
    const GgufTypeInfo* info = find_gguf_type(id);
    if (info == nullptr) continue;
    std::vector<std::byte> bytes(2 * info->block_bytes + 1);
    // Exponents of 0x2C in both halves of a scale keep every value finite.
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte{0x2C};
    std::vector<float> aligned(2 * info->block_elements);
    std::vector<float> shifted(aligned.size());
    dequantize(info->type, std::span(bytes).first(bytes.size() - 1), aligned);
    dequantize(info->type, std::span(bytes).subspan(1), shifted);
    EXPECT_EQ(aligned, shifted) << info->name;
  }
}

TEST(GgufTypes, integers_and_doubles_decode_to_their_values) {
  const auto decoded = [](GgufType type, auto value) {
    float result = 0;
    dequantize(type, std::as_bytes(std::span(&value, 1)), {&result, 1});
    return result;
  };
  EXPECT_EQ(decoded(GgufType::i8, std::int8_t{-5}), -5.0F);
  EXPECT_EQ(decoded(GgufType::i16, std::int16_t{-500}), -500.0F);
  EXPECT_EQ(decoded(GgufType::i32, std::int32_t{-70000}), -70000.0F);
  EXPECT_EQ(decoded(GgufType::i64, std::int64_t{1} << 40), 0x1p40F);
  EXPECT_EQ(decoded(GgufType::f64, 0.1), 0.1F);
}

TEST(GgufTypes, buffers_that_do_not_fit_are_refused) {
  const std::vector<std::byte> bytes(40);
  std::vector<float> values(64);
  const auto expect_misfit = [&](GgufType type, std::size_t size, std::size_t count) {
    quiver::test::expect_refused(
        [&] { dequantize(type, std::span(bytes).first(size), std::span(values).first(count)); },
        "different sizes", ErrorCode::internal);
  };
  expect_misfit(GgufType::q4_0, 18, 31);
  expect_misfit(GgufType::q4_0, 17, 32);
  expect_misfit(GgufType::q4_0, 36, 32);
  expect_misfit(GgufType::q4_0, 0, 31);
  expect_misfit(GgufType::f32, 8, 3);
  dequantize(GgufType::q6_k, {}, {});
}

TEST(GgufTypes, names_cover_what_can_be_read_and_what_cannot) {
  EXPECT_EQ(info_of(GgufType::q6_k).name, "Q6_K");
  EXPECT_EQ(gguf_type_name(14), "Q6_K");
  EXPECT_EQ(gguf_type_name(23), "IQ4_XS");
  EXPECT_EQ(gguf_type_name(4), "");
  EXPECT_EQ(find_gguf_type(23), nullptr);
}

}  // namespace
