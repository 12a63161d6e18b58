// The encoders of the affine scheme: recorded results, never worse than exact, and by how much not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <string>
#include <thread>

#include "core/model/json_file.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/quantize/encoding.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kReference = QUIVER_SHARED_DIR "/reference/";

/// Words and scales bit for bit; a bias of zero may have either sign.
void expect_recorded(const Encoded& encoded, const SafetensorsFile& file, const std::string& name) {
  const auto same = [&](std::size_t part, const char* suffix) {
    const auto recorded = file.at(name + suffix).data;
    ASSERT_EQ(encoded.parts[part].size(), recorded.size()) << name << suffix;
    EXPECT_EQ(std::memcmp(encoded.parts[part].data(), recorded.data(), recorded.size()), 0)
        << name << suffix;
  };
  same(0, ".weight");
  same(1, ".scales");
  const auto recorded = floats(file, name + ".biases");
  ASSERT_EQ(encoded.parts[2].size(), recorded.size() * sizeof(float));
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    float bias = 0;
    std::memcpy(&bias, encoded.parts[2].data() + i * sizeof bias, sizeof bias);
    EXPECT_EQ(bias, recorded[i]) << name << ".biases " << i;
  }
}

TEST(Encoders, search_gives_the_recorded_codes_scales_and_biases) {
  const auto file = SafetensorsFile::open(kReference + "affine/vectors.safetensors");
  const TensorView& input = file.at("input.f32");
  const Matrix matrix{input.rows(), input.columns(), floats(file, "input.f32")};
  for (const int bits : {2, 3, 4}) {
    expect_recorded(encode("search", matrix, {bits, 64}, DType::f32), file,
                    "f32.search.b" + std::to_string(bits) + ".g64");
  }
}

/// Name of a source tensor in a converted folder.
std::string converted_name(const std::string& name) {
  const std::string from = "model.language_model.";
  return name.starts_with(from) ? "language_model.model." + name.substr(from.size()) : name;
}

TEST(Encoders, search_gives_the_recorded_matrices_of_whole_models) {
  for (const std::string model : {"llama_a", "qwen35_a"}) {
    const std::string folder = kReference + "convert/" + model;
    const auto source = SafetensorsFile::open(folder + "/checkpoint/model.safetensors");
    const auto target = SafetensorsFile::open(folder + "/converted_lowbit.safetensors");
    const auto config = read_json_file(folder + "/expected.json").at("lowbit_config");
    int narrow = 0;
    for (const TensorView& tensor : source.tensors()) {
      std::string path = converted_name(std::string(tensor.name));
      if (!path.ends_with(".weight")) continue;
      path.resize(path.size() - 7);
      if (target.find(path + ".scales") == nullptr) continue;
      const int bits = config.at(path).at("bits");
      const Matrix matrix{tensor.rows(), tensor.columns(),
                          floats(source, std::string(tensor.name))};
      expect_recorded(encode("search", matrix, {bits, 64}, DType::f32), target, path);
      narrow += bits <= 3 ? 1 : 0;
    }
    EXPECT_GE(narrow, 10) << model;
  }
}

TEST(Encoders, are_listed_and_the_first_is_the_scheme_itself) {
  ASSERT_EQ(encoder().encoders().size(), 3U);
  EXPECT_STREQ(encoder().encoders()[0].name, "exact");
  EXPECT_STREQ(encoder().encoders()[1].name, "refit");
  EXPECT_TRUE(encoder().encoders()[1].uses_importance);
  EXPECT_STREQ(encoder().encoders()[2].name, "search");
  EXPECT_EQ(affine().extension("quiver.quant-encoder/2"), nullptr);
  const Matrix matrix = random_matrix(3, 128, true);
  for (const QuantFormat& format : {QuantFormat{3, 32}, QuantFormat{8, 128}}) {
    const Encoded own = encode("exact", matrix, format, DType::bf16);
    Encoded scheme = own;
    std::array<std::span<std::byte>, 3> spans{scheme.parts[0], scheme.parts[1], scheme.parts[2]};
    for (auto& part : scheme.parts) std::ranges::fill(part, std::byte{0x55});
    affine().encode(matrix.weights, 3, 128, format, DType::bf16, spans);
    EXPECT_EQ(own.parts, scheme.parts);
  }
}

/// The worst kinds of groups beside ordinary ones: constant, tiny, huge, far from zero, one
/// outlier.
Matrix odd_matrix() {
  Matrix matrix = random_matrix(24, 256, false, 5);
  std::mt19937 random(6);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const float offsets[] = {0, 1, -300, 0, 0, 1e-6F, 0, 5};
  const float heights[] = {1, 1e-3F, 1, 1e-8F, 1e15F, 1e-7F, 0, 1e-6F};
  for (std::size_t i = 0; i < 8 * 256; ++i) {
    matrix.weights[i] = offsets[i / 256] + heights[i / 256] * uniform(random);
  }
  for (std::size_t r = 8; r < 12; ++r) matrix.weights[r * 256 + 17 * r] = 3;
  return matrix;
}

TEST(Encoders, refit_and_search_are_never_worse_than_exact_in_any_group) {
  const Matrix matrix = odd_matrix();
  std::vector<float> importance(256);
  std::mt19937 random(8);
  std::lognormal_distribution<float> lognormal(0, 3);
  for (float& value : importance) value = lognormal(random);
  std::fill_n(importance.begin() + 64, 32, 0.0F);
  std::size_t better = 0, groups = 0;
  for (const QuantFormat& format : affine().formats()) {
    for (const DType type : {DType::f32, DType::bf16}) {
      const Encoded exact = encode("exact", matrix, format, type);
      const Encoded refit = encode("refit", matrix, format, type);
      const Encoded weighted = encode("refit", matrix, format, type, importance);
      const Encoded search = encode("search", matrix, format, type);
      for (std::int64_t r = 0; r < matrix.rows; ++r) {
        for (std::int64_t c = 0; c < matrix.columns; c += format.group_size) {
          const auto error = [&](const Encoded& encoded, std::span<const float> counts = {}) {
            return squared_error(matrix, encoded, r, c, format.group_size, counts);
          };
          ASSERT_LE(error(refit), error(exact)) << format.bits << " bits, row " << r;
          ASSERT_LE(error(search), error(exact)) << format.bits << " bits, row " << r;
          ASSERT_LE(error(weighted, importance), error(exact, importance))
              << format.bits << " bits, row " << r;
          better += error(refit) < error(exact) ? 1 : 0;
          ++groups;
        }
      }
    }
  }
  EXPECT_GT(better, groups / 2);
}

/// Squared error relative to the exact encoder's, at 64 weights a group.
double ratio(const char* name, const Matrix& matrix, int bits, DType type) {
  return squared_error(matrix, encode(name, matrix, {bits, 64}, type)) /
         squared_error(matrix, encode("exact", matrix, {bits, 64}, type));
}

TEST(Encoders, refit_leaves_as_little_error_as_measured) {
  const Matrix gaussian = random_matrix(64, 1024, true);
  const Matrix student = random_matrix(64, 1024, false);
  struct Row {
    int bits;
    double gaussian, student;
  };
  // What four rounds from one start leave, by an independent implementation; ours has more starts.
  for (const Row& row : {Row{2, .747, .716}, Row{3, .841, .817}, Row{4, .895, .899},
                         Row{6, .924, .912}, Row{8, .642, .543}}) {
    const double a = ratio("refit", gaussian, row.bits, DType::bf16);
    const double b = ratio("refit", student, row.bits, DType::bf16);
    EXPECT_LT(a, row.gaussian + 0.01) << row.bits;
    EXPECT_LT(b, row.student + 0.01) << row.bits;
    EXPECT_GT(a, row.gaussian - 0.12) << row.bits;
    EXPECT_GT(b, row.student - 0.12) << row.bits;
    RecordProperty("bits" + std::to_string(row.bits), std::to_string(a) + " " + std::to_string(b));
  }
}

TEST(Encoders, search_leaves_as_little_error_as_measured) {
  const Matrix gaussian = random_matrix(64, 1024, true);
  const Matrix student = random_matrix(64, 1024, false);
  EXPECT_NEAR(ratio("search", gaussian, 2, DType::bf16), .869, .01);
  EXPECT_NEAR(ratio("search", student, 2, DType::bf16), .836, .015);
  EXPECT_NEAR(ratio("search", gaussian, 3, DType::bf16), .871, .01);
  EXPECT_NEAR(ratio("search", student, 3, DType::bf16), .850, .015);
  EXPECT_NEAR(ratio("search", gaussian, 4, DType::bf16), .911, .01);
  EXPECT_EQ(ratio("search", gaussian, 5, DType::bf16), 1);
}

TEST(Encoders, importance_moves_the_error_to_where_it_costs_little) {
  const Matrix matrix = random_matrix(32, 512, true);
  std::mt19937 random(3);
  std::lognormal_distribution<float> lognormal(0, 1.5);
  std::vector<float> importance(512);
  for (float& value : importance) value = lognormal(random);
  for (const int bits : {2, 3, 4, 6}) {
    const QuantFormat format{bits, 64};
    const Encoded plain = encode("refit", matrix, format, DType::bf16);
    const Encoded weighted = encode("refit", matrix, format, DType::bf16, importance);
    EXPECT_LT(squared_error(matrix, weighted, importance),
              0.93 * squared_error(matrix, plain, importance))
        << bits;
    EXPECT_GT(squared_error(matrix, weighted), squared_error(matrix, plain)) << bits;
    // Only ratios matter; powers of two keep them exact.
    std::vector<float> scaled = importance;
    for (float& value : scaled) value *= 0x1p-20F;
    EXPECT_EQ(encode("refit", matrix, format, DType::bf16, scaled).parts, weighted.parts);
    const std::vector<float> none(512, 0.0F);
    EXPECT_EQ(encode("refit", matrix, format, DType::bf16, none).parts, plain.parts);
  }
}

TEST(Encoders, rows_may_be_encoded_in_any_ranges_by_any_threads) {
  const Matrix matrix = random_matrix(16, 256, false);
  for (const char* name : {"refit", "search"}) {
    const QuantFormat format{3, 64};
    const Encoded whole = encode(name, matrix, format, DType::f16);
    std::array<Encoded, 4> quarters;
    {
      std::vector<std::jthread> threads;
      for (std::size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
          const auto rows = std::span(matrix.weights).subspan(t * 4 * 256, 4 * 256);
          quarters[t] = encode(name, {4, 256, {rows.begin(), rows.end()}}, format, DType::f16);
        });
      }
    }
    for (std::size_t part = 0; part < 3; ++part) {
      std::vector<std::byte> joined;
      for (const Encoded& quarter : quarters) {
        joined.insert(joined.end(), quarter.parts[part].begin(), quarter.parts[part].end());
      }
      EXPECT_EQ(joined, whole.parts[part]) << name;
    }
  }
}

std::string refusal(const char* name, const Matrix& matrix, std::span<const float> importance = {},
                    DType type = DType::f32) {
  try {
    encode(name, matrix, {4, 64}, type, importance);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Encoders, refuse_what_they_cannot_encode) {
  Matrix matrix = random_matrix(2, 64, true);
  EXPECT_THAT(refusal("best", matrix), HasSubstr("no encoder 'best'"));
  std::vector<float> importance(64, 1.0F);
  EXPECT_EQ(refusal("refit", matrix, importance), "");
  EXPECT_THAT(refusal("refit", matrix, std::span(importance).first(63)), HasSubstr("63 import"));
  importance[7] = -1;
  EXPECT_THAT(refusal("refit", matrix, importance), HasSubstr("column 7"));
  importance[7] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(refusal("refit", matrix, importance), HasSubstr("column 7"));
  matrix.weights[64 + 5] = std::numeric_limits<float>::quiet_NaN();
  for (const char* name : {"refit", "search"}) {
    EXPECT_THAT(refusal(name, matrix), HasSubstr("row 1, column 5"));
  }
  matrix.weights[64 + 5] = 80000;
  for (const char* name : {"refit", "search"}) {
    EXPECT_THAT(refusal(name, matrix, {}, DType::f16), HasSubstr("too large"));
  }
}

TEST(Encoders, weights_whose_squares_overflow_decode_to_finite_ones) {
  Matrix matrix = random_matrix(1, 64, true);
  for (std::size_t i = 0; i < 64; ++i) matrix.weights[i] = matrix.weights[i] * 30 * 1e38F;
  for (const float weight : encode("refit", matrix, {4, 64}, DType::f32).decoded) {
    EXPECT_TRUE(std::isfinite(weight));
  }
}

}  // namespace
}  // namespace quiver::test
