// Values, types and order of rows of imported tensors.
#include "core/model/gguf_tensors.hpp"

#include <gmock/gmock.h>

#include <limits>

#include "tests/model/imported_folder.hpp"

namespace quiver::test {
namespace {

using quiver::DType;
using quiver::GgufType;
using quiver::ImportOptions;

/// Row of a stored tensor that has to stand at row `out` when pairs (2j, 2j + 1) of every head
/// become halves (j, j + n).
std::size_t paired_row(std::size_t out, std::size_t rows, std::size_t heads) {
  const std::size_t width = rows / heads;
  const std::size_t head = out / width;
  const std::size_t place = out % width;
  const bool is_second_half = place >= width / 2;
  const std::size_t pair = is_second_half ? place - width / 2 : place;
  return head * width + 2 * pair + (is_second_half ? 1 : 0);
}

float half_at(const Bytes& bytes, std::size_t at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, &bytes[at], sizeof(bits));
  return quiver::f16_to_f32(bits);
}

/// Values of Q4_0, Q4_1 and Q8_0 blocks by the format's definition.
std::vector<float> values_of(GgufType type, const Bytes& bytes) {
  const std::size_t block = quiver::info_of(type).block_bytes;
  std::vector<float> values;
  for (std::size_t at = 0; at < bytes.size(); at += block) {
    const float d = half_at(bytes, at);
    for (std::size_t i = 0; i < 32; ++i) {
      if (type == GgufType::q8_0) {
        values.push_back(d * static_cast<float>(static_cast<std::int8_t>(bytes[at + 2 + i])));
        continue;
      }
      const std::size_t head = type == GgufType::q4_0 ? 2 : 4;
      const auto pair = std::to_integer<unsigned>(bytes[at + head + i % 16]);
      const auto q = static_cast<float>(i < 16 ? pair & 15U : pair >> 4U);
      values.push_back(type == GgufType::q4_0 ? d * (q - 8) : d * q + half_at(bytes, at + 2));
    }
  }
  return values;
}

class GgufTensors : public ImportFixture {
 protected:
  /// Decodes scale * code + bias from the three tensors of a module.
  std::vector<float> affine(const std::string& module, int bits) {
    const quiver::TensorView codes = tensor(module + ".weight");
    EXPECT_EQ(codes.dtype, DType::u32);
    const auto stream = codes.data;
    const auto count = stream.size() * 8 / static_cast<std::size_t>(bits);
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      unsigned code = 0;
      for (int bit = 0; bit < bits; ++bit) {
        const std::size_t at = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(bit);
        code |= (std::to_integer<unsigned>(stream[at / 8]) >> at % 8 & 1U) << bit;
      }
      values[i] = static_cast<float>(code);
    }
    const std::vector<float> scales = floats_of(tensor(module + ".scales"));
    const std::vector<float> biases = floats_of(tensor(module + ".biases"));
    EXPECT_EQ(scales.size() * 32, count);
    EXPECT_EQ(biases.size() * 32, count);
    for (std::size_t i = 0; i < count; ++i) values[i] = values[i] * scales[i / 32] + biases[i / 32];
    return values;
  }

  static ImportOptions keeping() {
    ImportOptions options;
    options.keep_quantized = true;
    return options;
  }
};

TEST_F(GgufTensors, FloatMatricesKeepTheirTypeAndBytes) {
  const auto f16 = blocks(GgufType::f16, 12);
  const auto bf16 = blocks(GgufType::bf16, 12);
  import(wagon_keys()
             .tensor("token_embd.weight", {6, 2}, ramp(12, 0.1F))
             .tensor("blk.0.wheel.weight", {3, 4}, GgufType::f16, f16)
             .tensor("blk.1.wheel.weight", {4, 3}, GgufType::bf16, bf16));
  EXPECT_EQ(tensor("embed.weight").dtype, DType::f32);
  EXPECT_EQ(floats_of(tensor("embed.weight")), ramp(12, 0.1F));
  EXPECT_EQ(tensor("layers.0.wheel.weight").dtype, DType::f16);
  EXPECT_THAT(tensor("layers.0.wheel.weight").data, testing::ElementsAreArray(f16));
  EXPECT_EQ(tensor("layers.1.wheel.weight").dtype, DType::bf16);
  EXPECT_THAT(tensor("layers.1.wheel.weight").data, testing::ElementsAreArray(bf16));
  EXPECT_EQ(tensor("layers.1.wheel.weight").shape, (std::vector<std::int64_t>{4, 3}));
}

TEST_F(GgufTensors, BlocksBecomeTheNearestFloat16) {
  const auto data = blocks(GgufType::q8_0, 4 * 64);
  import(wagon_keys().tensor("blk.0.wheel.weight", {4, 64}, GgufType::q8_0, data));
  const std::vector<float> exact = values_of(GgufType::q8_0, data);
  const std::vector<float> found = floats_of(tensor("layers.0.wheel.weight"));
  EXPECT_EQ(tensor("layers.0.wheel.weight").dtype, DType::f16);
  ASSERT_EQ(found.size(), exact.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i], quiver::f16_to_f32(quiver::f32_to_f16(exact[i]))) << i;
  }
}

TEST_F(GgufTensors, TheRequestedTypeHoldsForAllWeights) {
  ImportOptions options;
  options.dtype = DType::f32;
  const auto data = blocks(GgufType::q4_1, 64);
  import(wagon_keys()
             .tensor("blk.0.wheel.weight", {2, 32}, GgufType::q4_1, data)
             .tensor("blk.1.wheel.weight", {2, 2}, GgufType::f16,
                     bytes_of<std::uint16_t>({0x3C00, 0, 0xC000, 0x3800})),
         options);
  EXPECT_EQ(floats_of(tensor("layers.0.wheel.weight")), values_of(GgufType::q4_1, data));
  EXPECT_EQ(tensor("layers.1.wheel.weight").dtype, DType::f32);
  EXPECT_EQ(floats_of(tensor("layers.1.wheel.weight")), (std::vector<float>{1, 0, -2, 0.5F}));
  EXPECT_EQ(json("config.json")["torch_dtype"], "float32");
}

TEST_F(GgufTensors, KeptBlocksDecodeToTheSameValues) {
  for (const GgufType type : {GgufType::q4_0, GgufType::q4_1, GgufType::q8_0}) {
    const auto data = blocks(type, 5 * 96, 7);
    const auto report =
        import(wagon_keys().tensor("blk.0.wheel.weight", {5, 96}, type, data), keeping());
    EXPECT_EQ(report.kept_quantized, 1);
    const int bits = type == GgufType::q8_0 ? 8 : 4;
    EXPECT_EQ(affine("layers.0.wheel", bits), values_of(type, data));
    EXPECT_EQ(tensor("layers.0.wheel.scales").dtype, DType::f16);
    EXPECT_EQ(tensor("layers.0.wheel.weight").shape, (std::vector<std::int64_t>{5, 3 * bits}));
    EXPECT_EQ(tensor("layers.0.wheel.biases").shape, (std::vector<std::int64_t>{5, 3}));
    std::filesystem::remove_all(out());
  }
}

TEST_F(GgufTensors, ScalesThatFloat16CannotHoldAreFloat32) {
  auto data = blocks(GgufType::q8_0, 64);
  // 1024 as float16; -128 * 1024 lies beyond the largest one.
  data[34] = std::byte{0x00};
  data[35] = std::byte{0x64};
  import(wagon_keys().tensor("blk.0.wheel.weight", {1, 64}, GgufType::q8_0, data), keeping());
  EXPECT_EQ(tensor("layers.0.wheel.scales").dtype, DType::f32);
  EXPECT_EQ(tensor("layers.0.wheel.biases").dtype, DType::f32);
  EXPECT_EQ(affine("layers.0.wheel", 8), values_of(GgufType::q8_0, data));
}

TEST_F(GgufTensors, QuantizedVectorsAndOtherBlocksBecomeFloats) {
  const auto report =
      import(wagon_keys()
                 .tensor("blk.0.norm.weight", {32}, GgufType::q8_0, blocks(GgufType::q8_0, 32))
                 .tensor("blk.0.wheel.weight", {1, 256}, GgufType::q6_k, Bytes(210)),
             keeping());
  EXPECT_EQ(report.kept_quantized, 0);
  EXPECT_EQ(tensor("layers.0.wheel.weight").dtype, DType::f16);
  EXPECT_THAT(report.warnings, testing::Contains(testing::HasSubstr("1 tensors of the type Q6_K")));
  EXPECT_THAT(report.warnings, testing::Contains(testing::HasSubstr("no tensor could be kept")));
  EXPECT_FALSE(json("config.json").contains("quantization"));
}

TEST_F(GgufTensors, InterleavedRowsReturnToHalves) {
  constexpr std::size_t kRows = 12;  // Two heads of three pairs.
  import(wagon_keys()
             .tensor("blk.0.turn.weight", {kRows, 5}, ramp(kRows * 5))
             .tensor("blk.0.turn.bias", {kRows}, ramp(kRows)));
  const std::vector<float> rows = floats_of(tensor("layers.0.turn.weight"));
  const std::vector<float> bias = floats_of(tensor("layers.0.turn.bias"));
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::size_t from = paired_row(i, kRows, 2);
    EXPECT_EQ(bias[i], static_cast<float>(from));
    for (std::size_t j = 0; j < 5; ++j)
      EXPECT_EQ(rows[i * 5 + j], static_cast<float>(from * 5 + j));
  }
}

TEST_F(GgufTensors, InterleavedRowsOfBlocksMoveWhole) {
  constexpr std::size_t kRows = 8;
  const auto data = blocks(GgufType::q4_1, kRows * 64);
  import(wagon_keys().tensor("blk.0.turn.weight", {kRows, 64}, GgufType::q4_1, data), keeping());
  const std::vector<float> stored = values_of(GgufType::q4_1, data);
  const std::vector<float> found = affine("layers.0.turn", 4);
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::size_t from = paired_row(i, kRows, 2);
    EXPECT_TRUE(std::equal(&found[i * 64], &found[i * 64] + 64, &stored[from * 64])) << i;
  }
}

TEST_F(GgufTensors, RowsLongerThanAPieceArriveWhole) {
  constexpr std::size_t kColumns = 300000;  // A piece has 262144 elements.
  auto data = blocks(GgufType::f16, 4 * kColumns);
  import(wagon_keys().tensor("blk.0.turn.weight", {4, kColumns}, GgufType::f16, data));
  const quiver::TensorView found = tensor("layers.0.turn.weight");
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t from = paired_row(i, 4, 2);
    EXPECT_EQ(std::memcmp(&found.data[i * kColumns * 2], &data[from * kColumns * 2], kColumns * 2),
              0);
  }
}

TEST_F(GgufTensors, PiecesFollowEachOtherWithoutGaps) {
  constexpr std::int64_t kRows = 5000;  // 320000 elements: two pieces.
  const auto data = blocks(GgufType::q8_0, kRows * 64);
  import(wagon_keys().tensor("blk.0.wheel.weight", {kRows, 64}, GgufType::q8_0, data), keeping());
  EXPECT_EQ(affine("layers.0.wheel", 8), values_of(GgufType::q8_0, data));
}

TEST_F(GgufTensors, VectorsAreSmallWhereThatIsExact) {
  import(wagon_keys()
             .tensor("blk.0.wheel.weight", {2, 32}, GgufType::q8_0, blocks(GgufType::q8_0, 64))
             .tensor("blk.0.norm.weight", {3}, {1.5F, -2, 0.25F})
             .tensor("blk.1.norm.weight", {3}, {1.5F, 0.1F, 0.25F}));
  EXPECT_EQ(tensor("layers.0.norm.weight").dtype, DType::f16);
  EXPECT_EQ(floats_of(tensor("layers.0.norm.weight")), (std::vector<float>{1.5F, -2, 0.25F}));
  EXPECT_EQ(tensor("layers.1.norm.weight").dtype, DType::f32);
  EXPECT_EQ(floats_of(tensor("layers.1.norm.weight")), (std::vector<float>{1.5F, 0.1F, 0.25F}));
}

TEST_F(GgufTensors, VectorsFollowTheTypeOfMostWeights) {
  // 257 is a float16 and no bfloat16.
  import(wagon_keys()
             .tensor("blk.0.wheel.weight", {4, 4}, GgufType::bf16, Bytes(32))
             .tensor("blk.0.norm.weight", {1}, {256.0F})
             .tensor("blk.1.norm.weight", {1}, {257.0F}));
  EXPECT_EQ(tensor("layers.0.norm.weight").dtype, DType::bf16);
  EXPECT_EQ(tensor("layers.1.norm.weight").dtype, DType::f32);
  EXPECT_EQ(json("config.json")["torch_dtype"], "bfloat16");
}

TEST_F(GgufTensors, IntegersStayAndDroppedTensorsGo) {
  const auto report =
      import(wagon_keys()
                 .tensor("table", {3}, GgufType::i32, bytes_of<std::int32_t>({7, -8, 9}))
                 .tensor("rust", {2}, {1, 2}));
  EXPECT_EQ(report.tensors, 1);
  EXPECT_EQ(tensor("positions").dtype, DType::i32);
  EXPECT_EQ(floats_of(tensor("positions")), (std::vector<float>{7, -8, 9}));
  EXPECT_TRUE(json("config.json")["has_table"]);
}

TEST_F(GgufTensors, ValuesBeyondTheTypeAreRefused) {
  auto writer = wagon_keys();
  writer.tensor("blk.0.wheel.weight", {1, 2}, {1, 70000});
  ImportOptions options;
  options.dtype = DType::f16;
  expect_refused([&] { import(writer, options); },
                 "'blk.0.wheel.weight' holds a value that F16 cannot represent");
  EXPECT_TRUE(is_clean());
  options.dtype = DType::bf16;
  EXPECT_NO_THROW(import(writer, options));
}

TEST_F(GgufTensors, ScalesThatAreNotFiniteAreRefused) {
  auto data = blocks(GgufType::q4_0, 64);
  data[18] = std::byte{0x00};  // The second block's scale becomes infinite.
  data[19] = std::byte{0x7C};
  const auto writer = wagon_keys().tensor("blk.0.wheel.weight", {1, 64}, GgufType::q4_0, data);
  expect_refused([&] { import(writer, keeping()); }, "'blk.0.wheel.weight' has a scale");
  expect_refused([&] { import(writer); }, "'blk.0.wheel.weight' holds a value");
  EXPECT_TRUE(is_clean());
}

TEST_F(GgufTensors, TensorsThatFitNoRuleAreNamed) {
  expect_refused(
      [&] {
        import(wagon_keys().tensor("blk.0.axle.weight", {2}, {1, 2}));
      },
      "tensor 'blk.0.axle.weight' is unknown to the architecture");
  expect_refused([&] { import(wagon_keys().tensor("table", {1}, {1}).tensor("second", {1}, {1})); },
                 "tensor 'second' would be the second one named 'positions'");
  expect_refused(
      [&] {
        import(wagon_keys().tensor("blk.0.turn.weight", {6, 1}, ramp(6)));
      },
      "tensor 'blk.0.turn.weight' of the shape [6, 1] is not made of pairs in 2 heads");
  expect_refused(
      [&] {
        import(wagon_keys().tensor("blk.0.turn.bias", {32}, GgufType::q8_0,
                                   blocks(GgufType::q8_0, 32)));
      },
      "'blk.0.turn.bias' of the shape [32] is not made of pairs");
  EXPECT_TRUE(is_clean());
}

TEST_F(GgufTensors, EmptyTensorsCostNoTime) {
  // 2^60 rows of nothing.
  import(wagon_keys().tensor("blk.0.turn.weight", {std::int64_t{1} << 60, 0}, GgufType::f32, {}));
  EXPECT_EQ(tensor("layers.0.turn.weight").elements(), 0);
}

}  // namespace
}  // namespace quiver::test
