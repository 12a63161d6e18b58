// quant-affine against recorded results of the format's own implementation, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <quiver/quant_scheme.hpp>
#include <random>

#include "plugin_under_test.hpp"
#include "safetensors_reader.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;

const QuantScheme& affine() {
  static const auto& scheme = open_interface<QuantScheme>(QUANT_AFFINE_SO);
  return scheme;
}

const std::string kReference = QUIVER_SHARED_DIR "/reference/";

float half_to_float(std::uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent == 31 ? (mantissa != 0 ? std::nan("") : INFINITY)
                                            : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((half & 0x8000) != 0 ? -magnitude : magnitude);
}

/// bfloat16 or float16 nearest to a double, ties to even, by comparing neighbours.
float round_to(DType type, float value) {
  if (type == DType::f32) return value;
  if (type == DType::bf16) {
    const double unit = std::ldexp(1.0, std::max(std::ilogb(value), -126) - 7);
    return value == 0 ? value : static_cast<float>(std::nearbyint(value / unit) * unit);
  }
  const double unit = std::ldexp(1.0, std::max(std::ilogb(value), -14) - 10);
  const double rounded = std::nearbyint(value / unit) * unit;
  if (value == 0) return value;
  return static_cast<float>(std::abs(rounded) > 65504 ? std::copysign(INFINITY, rounded) : rounded);
}

DType dtype_of(const std::string& name) {
  return name == "F32" ? DType::f32 : name == "BF16" ? DType::bf16 : DType::f16;
}

std::vector<float> floats_of(const StoredTensor& tensor) {
  const DType type = dtype_of(tensor.dtype);
  std::vector<float> values(tensor.data.size() / size_bytes(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t half = 0;
    if (type == DType::f32) {
      std::memcpy(&values[i], tensor.data.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, tensor.data.data() + 2 * i, 2);
      values[i] = type == DType::f16 ? half_to_float(half)
                                     : std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
    }
  }
  return values;
}

/// The three parts of a matrix, each shifted by `offset` bytes from any alignment.
struct Parts {
  std::array<std::vector<std::byte>, 3> bytes;
  std::array<std::span<std::byte>, 3> spans;
  std::array<std::span<const std::byte>, 3> views;

  Parts(const QuantFormat& format, std::int64_t rows, std::int64_t columns, DType type,
        std::size_t offset = 0) {
    std::array<QuantPart, QuantScheme::kMaxParts> parts;
    if (affine().parts(format, columns, type, parts) != 3) throw std::runtime_error("no format");
    for (std::size_t i = 0; i < 3; ++i) {
      const auto size =
          static_cast<std::size_t>(rows * parts[i].columns) * size_bytes(parts[i].dtype);
      bytes[i].resize(size + offset);
      spans[i] = std::span(bytes[i]).subspan(offset);
      views[i] = spans[i];
    }
  }
};

std::vector<float> decoded(const Parts& parts, const QuantFormat& format, std::int64_t rows,
                           std::int64_t columns, DType type, std::int64_t first = 0,
                           std::int64_t count = -1) {
  if (count < 0) count = rows;
  std::vector<float> weights(static_cast<std::size_t>(count * columns));
  affine().decode({rows, columns, format, type, parts.views}, first, count, weights);
  return weights;
}

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

TEST(QuantAffine, encodes_every_recorded_vector_bit_for_bit) {
  const SafetensorsReader file(kReference + "affine/vectors.safetensors");
  std::ifstream stream(kReference + "affine/expected.json");
  const auto expected = nlohmann::json::parse(stream);
  int cases = 0;
  for (const auto& entry : expected.at("cases")) {
    if (entry.contains("encoder") || entry.contains("mode")) continue;
    const std::string key = entry.at("key");
    const StoredTensor input = file.tensor(entry.at("input"));
    const DType type = dtype_of(input.dtype);
    const QuantFormat format{entry.at("bits"), entry.at("group_size")};
    const std::int64_t rows = input.shape.at(0);
    const std::int64_t columns = input.shape.at(1);
    Parts parts(format, rows, columns, type, 1);
    affine().encode(floats_of(input), rows, columns, format, type, parts.spans);
    EXPECT_TRUE(same_bytes(parts.views[0], file.tensor(key + ".weight").data)) << key;
    EXPECT_TRUE(same_bytes(parts.views[1], file.tensor(key + ".scales").data)) << key;
    EXPECT_TRUE(same_bytes(parts.views[2], file.tensor(key + ".biases").data)) << key;
    ++cases;
    if (!file.has(key + ".dequantized")) continue;
    const auto recorded = floats_of(file.tensor(key + ".dequantized"));
    const auto own = decoded(parts, format, rows, columns, type);
    if (type == DType::f32) {
      EXPECT_EQ(std::memcmp(own.data(), recorded.data(), own.size() * 4), 0) << key;
      continue;
    }
    // The recorded ones are rounded to the type after the product and after the sum; ours are not.
    const auto scales = floats_of(file.tensor(key + ".scales"));
    const auto biases = floats_of(file.tensor(key + ".biases"));
    for (std::size_t i = 0; i < own.size(); ++i) {
      const std::size_t group = i / static_cast<std::size_t>(format.group_size);
      const float code =
          scales[group] == 0 ? 0 : std::nearbyint((own[i] - biases[group]) / scales[group]);
      EXPECT_EQ(own[i], scales[group] * code + biases[group]) << key << " " << i;
      EXPECT_EQ(round_to(type, round_to(type, scales[group] * code) + biases[group]), recorded[i])
          << key << " " << i;
    }
  }
  EXPECT_EQ(cases, 54);
}

/// Name of a source tensor in a converted folder.
std::string converted_name(std::string name) {
  const std::string from = "model.language_model.";
  if (name.starts_with(from)) return "language_model.model." + name.substr(from.size());
  return name;
}

TEST(QuantAffine, encodes_whole_checkpoints_to_the_recorded_bytes) {
  for (const char* model : {"llama_a", "qwen35_a"}) {
    const std::string folder = kReference + "convert/" + model;
    const SafetensorsReader source(folder + "/checkpoint/model.safetensors");
    const SafetensorsReader target(folder + "/converted/model.safetensors");
    std::ifstream config(folder + "/converted/config.json");
    const auto quantization = nlohmann::json::parse(config).at("quantization");
    std::size_t matched = 0;
    for (const auto& [name, unused] : source.header().items()) {
      if (!name.ends_with(".weight")) continue;
      const std::string path = converted_name(name.substr(0, name.size() - 7));
      if (!target.has(path + ".scales")) continue;
      const auto& own = quantization.at(path);
      const QuantFormat format{own.at("bits"), own.at("group_size")};
      const StoredTensor weight = source.tensor(name);
      const std::int64_t rows = weight.shape.at(0);
      const std::int64_t columns = weight.shape.at(1);
      Parts parts(format, rows, columns, DType::f32);
      affine().encode(floats_of(weight), rows, columns, format, DType::f32, parts.spans);
      EXPECT_TRUE(same_bytes(parts.views[0], target.tensor(path + ".weight").data)) << path;
      EXPECT_TRUE(same_bytes(parts.views[1], target.tensor(path + ".scales").data)) << path;
      EXPECT_TRUE(same_bytes(parts.views[2], target.tensor(path + ".biases").data)) << path;
      ++matched;
    }
    std::size_t quantized = 0;
    for (const auto& [name, unused] : target.header().items()) {
      quantized += name.ends_with(".scales") ? 1 : 0;
    }
    EXPECT_EQ(matched, quantized) << model;
    EXPECT_GT(matched, 20U) << model;
  }
}

TEST(QuantAffine, states_its_formats_and_parts) {
  EXPECT_EQ(affine().name(), "affine");
  EXPECT_EQ(affine().formats().size(), 18U);
  std::array<QuantPart, QuantScheme::kMaxParts> parts;
  for (const QuantFormat& format : affine().formats()) {
    EXPECT_EQ(affine().packed_format(format), PackedFormat::affine);
    ASSERT_EQ(affine().parts(format, 384, DType::bf16, parts), 3);
    EXPECT_STREQ(parts[0].suffix, ".weight");
    EXPECT_EQ(parts[0].dtype, DType::u32);
    EXPECT_EQ(parts[0].columns, 384 * format.bits / 32);
    EXPECT_STREQ(parts[1].suffix, ".scales");
    EXPECT_STREQ(parts[2].suffix, ".biases");
    EXPECT_EQ(parts[2].dtype, DType::bf16);
    EXPECT_EQ(parts[2].columns, 384 / format.group_size);
  }
  EXPECT_EQ(affine().parts({4, 64}, 96, DType::f32, parts), 0);
  EXPECT_EQ(affine().parts({4, 64}, 0, DType::f32, parts), 0);
  EXPECT_EQ(affine().parts({4, 64}, -64, DType::f32, parts), 0);
  EXPECT_EQ(affine().parts({7, 64}, 64, DType::f32, parts), 0);
  EXPECT_EQ(affine().parts({4, 16}, 64, DType::f32, parts), 0);
  EXPECT_EQ(affine().parts({4, 64}, 64, DType::f64, parts), 0);
  EXPECT_EQ(affine().packed_format({4, 16}), PackedFormat::none);
}

TEST(QuantAffine, packs_codes_as_one_little_endian_bit_stream) {
  for (const QuantFormat& format : affine().formats()) {
    const auto n = static_cast<std::size_t>(format.group_size);
    const unsigned levels = 1U << format.bits;
    // Codes 0, 1, .. by a scale of one: edge 0 would give bias 0, so the largest value is not 0.
    std::vector<float> weights(n);
    for (std::size_t i = 0; i < n; ++i) {
      weights[i] = -static_cast<float>(levels) + static_cast<float>((i * 7) % levels);
    }
    weights[0] = -static_cast<float>(levels);
    weights[1] = -1.0F;
    Parts parts(format, 1, format.group_size, DType::f32);
    affine().encode(weights, 1, format.group_size, format, DType::f32, parts.spans);
    for (std::size_t i = 0; i < n; ++i) {
      const auto code = static_cast<unsigned>(weights[i] + static_cast<float>(levels));
      for (std::size_t b = 0; b < static_cast<std::size_t>(format.bits); ++b) {
        const std::size_t bit = i * static_cast<std::size_t>(format.bits) + b;
        const auto byte = std::to_integer<unsigned>(parts.views[0][bit / 8]);
        ASSERT_EQ((byte >> (bit % 8)) & 1, (code >> b) & 1) << format.bits << " bits, code " << i;
      }
    }
  }
}

TEST(QuantAffine, decodes_any_rows_alike_and_stays_close_to_the_weights) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 1);
  for (const QuantFormat& format : affine().formats()) {
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      const std::int64_t rows = 5;
      const std::int64_t columns = 256;
      std::vector<float> weights(static_cast<std::size_t>(rows * columns));
      for (float& weight : weights) weight = normal(random);
      Parts parts(format, rows, columns, type, 3);
      affine().encode(weights, rows, columns, format, type, parts.spans);
      const auto all = decoded(parts, format, rows, columns, type);
      const auto some = decoded(parts, format, rows, columns, type, 2, 2);
      EXPECT_EQ(std::memcmp(some.data(), all.data() + 2 * columns, some.size() * 4), 0);
      EXPECT_TRUE(decoded(parts, format, rows, columns, type, 5, 0).empty());
      double largest = 0, error = 0;
      for (std::size_t i = 0; i < all.size(); ++i) {
        largest = std::max<double>(largest, std::abs(weights[i]));
        error = std::max<double>(error, std::abs(all[i] - weights[i]));
      }
      // One step and, for 16-bit parameters, their relative rounding of codes and bias.
      const double step = 2 * largest / ((1 << format.bits) - 1);
      EXPECT_LT(error, step + (type == DType::f32 ? 0 : largest * 3 / 256)) << format.bits;
    }
  }
}

TEST(QuantAffine, rounds_parameters_to_nearest_even) {
  // A constant group's bias is the constant, so these are ties of the stored type.
  struct Case {
    DType type;
    float constant;
    float stored;
  };
  const Case cases[] = {{DType::bf16, 1 + 0x1p-8F, 1},
                        {DType::bf16, 1 + 3 * 0x1p-8F, 1 + 0x1p-6F},
                        {DType::f16, 1 + 0x1p-11F, 1},
                        {DType::f16, 1 + 3 * 0x1p-11F, 1 + 0x1p-9F},
                        {DType::f16, -3 * 0x1p-25F, -0x1p-23F},
                        {DType::f16, 0x1.ffcp-14F, 0x1.ffcp-14F},
                        {DType::f16, 65519, 65504}};
  const QuantFormat format{4, 32};
  for (const Case& c : cases) {
    const std::vector<float> weights(32, c.constant);
    Parts parts(format, 1, 32, c.type);
    affine().encode(weights, 1, 32, format, c.type, parts.spans);
    EXPECT_EQ(decoded(parts, format, 1, 32, c.type)[0], c.stored) << c.constant;
  }
}

std::string refusal(std::vector<float> weights, DType type) {
  const QuantFormat format{4, 32};
  Parts parts(format, 2, 64, type);
  try {
    affine().encode(weights, 2, 64, format, type, parts.spans);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    return error.what();
  }
  return "";
}

TEST(QuantAffine, refuses_weights_that_are_not_finite_and_names_the_place) {
  for (const float bad : {INFINITY, -INFINITY, std::nanf("")}) {
    std::vector<float> weights(128, 0.5F);
    weights[64 + 37] = bad;
    EXPECT_THAT(refusal(weights, DType::f32), HasSubstr("row 1, column 37"));
  }
}

TEST(QuantAffine, refuses_weights_whose_parameters_would_overflow) {
  std::vector<float> weights(128, 0.5F);
  weights[40] = 3e38F;
  weights[41] = -3e38F;
  EXPECT_THAT(refusal(weights, DType::f32), HasSubstr("row 0, column 32"));
  weights[40] = 70000;
  weights[41] = 0;
  EXPECT_THAT(refusal(weights, DType::f16), HasSubstr("too large"));
  EXPECT_EQ(refusal(weights, DType::bf16), "");
}

TEST(QuantAffine, refuses_sizes_that_do_not_agree) {
  const QuantFormat format{4, 32};
  Parts parts(format, 2, 64, DType::f32);
  std::vector<float> weights(128, 1.0F);
  const auto encode = [&](std::size_t count, std::int64_t rows, std::int64_t columns, DType type) {
    affine().encode(std::span(weights).first(count), rows, columns, format, type, parts.spans);
  };
  EXPECT_NO_THROW(encode(128, 2, 64, DType::f32));
  EXPECT_THROW(encode(127, 2, 64, DType::f32), Error);
  EXPECT_THROW(encode(128, 4, 32, DType::f16), Error);
  EXPECT_THROW(encode(128, 2, 48, DType::f32), Error);
  EXPECT_THROW(encode(128, -2, -64, DType::f32), Error);
  EXPECT_THROW(encode(0, INT64_MAX, 64, DType::f32), Error);
  EXPECT_THROW(encode(128, 2, 64, DType::u8), Error);
  const QuantizedMatrix matrix{2, 64, format, DType::f32, parts.views};
  EXPECT_NO_THROW(affine().decode(matrix, 0, 2, weights));
  EXPECT_THROW(affine().decode(matrix, 1, 2, weights), Error);
  EXPECT_THROW(affine().decode(matrix, -1, 2, weights), Error);
  EXPECT_THROW(affine().decode(matrix, 0, 1, weights), Error);
  EXPECT_THROW(affine().decode({3, 64, format, DType::f32, parts.views}, 0, 2, weights), Error);
}

}  // namespace
}  // namespace quiver::test
