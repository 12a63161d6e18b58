// quiver quantize-tensor against the reference encodings.
#include "tests/cli/run_program.hpp"

#include "core/model/json_file.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/support/checkpoint_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace quiver::test {
namespace {

bool is_same(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.data.size() == b.data.size() &&
         std::memcmp(a.data.data(), b.data.data(), a.data.size()) == 0;
}

class QuantizeTensor : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string in_ = (folder_.path() / "in.safetensors").string();
  std::string out_ = (folder_.path() / "out.safetensors").string();

  void write_input(const std::vector<std::pair<TensorInfo, std::span<const std::byte>>>& tensors) {
    std::vector<TensorInfo> infos;
    for (const auto& [info, bytes] : tensors) infos.push_back(info);
    SafetensorsWriter writer(in_, infos);
    for (const auto& [info, bytes] : tensors) writer.write(info.name, bytes);
    writer.commit();
  }

  ProgramResult quantize(int bits, int group_size) {
    return run_program({"quantize-tensor", in_, "-o", out_, "--bits", std::to_string(bits),
                        "--group-size", std::to_string(group_size), "--json"});
  }
};

TEST_F(QuantizeTensor, every_reference_encoding_is_reproduced_bit_for_bit) {
  const SafetensorsFile vectors =
      SafetensorsFile::open(shared_path("reference/affine/vectors.safetensors"));
  const auto expected = read_json_file(shared_path("reference/affine/expected.json"));
  std::vector<std::pair<TensorInfo, std::span<const std::byte>>> inputs;
  for (const char* type : {"f32", "f16", "bf16"}) {
    const TensorView& input = vectors.at(std::string("input.") + type);
    inputs.push_back({{std::string(type) + ".weight", input.dtype, input.shape}, input.data});
  }
  write_input(inputs);
  int compared = 0;
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group_size : {32, 64, 128}) {
      const ProgramResult result = quantize(bits, group_size);
      ASSERT_EQ(result.status, 0) << result.err;
      const SafetensorsFile output = SafetensorsFile::open(out_);
      for (const auto& test : expected.at("cases")) {
        if (test.at("bits") != bits || test.at("group_size") != group_size) continue;
        const std::string input = test.at("input");
        const std::string key = test.at("key");
        if (key.find(".b") == std::string::npos || key.find("search") != std::string::npos)
          continue;
        for (const std::string part : {".weight", ".scales", ".biases"}) {
          const TensorView* reference = vectors.find(key + part);
          if (reference == nullptr) continue;
          EXPECT_TRUE(is_same(output.at(input.substr(input.find('.') + 1) + part), *reference))
              << key << part;
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, 162);  // 3 types x 6 widths x 3 groups x 3 parts
}

TEST_F(QuantizeTensor, stacked_matrices_are_quantized_and_others_copied) {
  const std::vector<float> stacked = [] {
    std::vector<float> values(2 * 3 * 64);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 37) - 18;
    return values;
  }();
  const std::vector<float> odd(2 * 48, 1.5F);
  const std::vector<float> norm(64, 0.25F);
  write_input({{{"experts.weight", DType::f32, {2, 3, 64}}, std::as_bytes(std::span(stacked))},
               {{"odd.weight", DType::f32, {2, 48}}, std::as_bytes(std::span(odd))},
               {{"norm.weight", DType::f32, {64}}, std::as_bytes(std::span(norm))},
               {{"other", DType::f32, {1, 64}}, std::as_bytes(std::span(norm))}});
  const ProgramResult result = quantize(4, 32);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json().at("quantized"), 1);
  EXPECT_EQ(result.json().at("copied"), 3);
  const SafetensorsFile output = SafetensorsFile::open(out_);
  EXPECT_EQ(output.at("experts.weight").shape, (std::vector<std::int64_t>{2, 3, 8}));
  EXPECT_EQ(output.at("experts.weight").dtype, DType::u32);
  EXPECT_EQ(output.at("experts.scales").shape, (std::vector<std::int64_t>{2, 3, 2}));
  EXPECT_EQ(output.at("odd.weight").dtype, DType::f32);
  EXPECT_EQ(std::memcmp(output.at("other").data.data(), norm.data(), 64 * sizeof(float)), 0);
}

TEST_F(QuantizeTensor, a_weight_that_is_no_number_is_named_and_nothing_is_written) {
  std::vector<float> values(64, 1.0F);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  write_input({{{"bad.weight", DType::f32, {1, 64}}, std::as_bytes(std::span(values))}});
  const ProgramResult result = quantize(4, 64);
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, testing::HasSubstr("bad.weight"));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(QuantizeTensor, formats_that_the_scheme_lacks_are_wrong_usage) {
  const std::vector<float> values(64, 1.0F);
  write_input({{{"a.weight", DType::f32, {1, 64}}, std::as_bytes(std::span(values))}});
  const ProgramResult result = quantize(7, 64);
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, testing::HasSubstr("has no 7 bits in groups of 64"));
}

TEST_F(QuantizeTensor, an_unknown_scheme_is_a_missing_plugin) {
  const std::vector<float> values(64, 1.0F);
  write_input({{{"a.weight", DType::f32, {1, 64}}, std::as_bytes(std::span(values))}});
  const ProgramResult result =
      run_program({"quantize-tensor", in_, "-o", out_, "--scheme", "nonesuch"});
  EXPECT_EQ(result.status, 4);
  EXPECT_THAT(result.err, testing::HasSubstr("affine"));
}

TEST_F(QuantizeTensor, the_search_encoder_gives_the_recorded_bytes_and_refit_others) {
  const SafetensorsFile vectors =
      SafetensorsFile::open(shared_path("reference/affine/vectors.safetensors"));
  const TensorView& input = vectors.at("input.f32");
  write_input({{{"x.weight", input.dtype, input.shape}, input.data}});
  const auto run = [&](const char* encoder) {
    const ProgramResult result = run_program(
        {"quantize-tensor", in_, "-o", out_, "--bits", "3", "--encoder", encoder, "--json"});
    EXPECT_EQ(result.status, 0) << result.err;
    const SafetensorsFile output = SafetensorsFile::open(out_);
    return std::pair(is_same(output.at("x.weight"), vectors.at("f32.search.b3.g64.weight")),
                     is_same(output.at("x.weight"), vectors.at("f32.b3.g64.weight")));
  };
  EXPECT_EQ(run("search"), std::pair(true, false));
  EXPECT_EQ(run("exact"), std::pair(false, true));
  EXPECT_EQ(run("refit"), std::pair(false, false));
  EXPECT_EQ(run_program({"quantize-tensor", in_, "-o", out_, "--encoder", "best"}).status, 2);
}

}  // namespace
}  // namespace quiver::test
