// Matrices through the affine scheme's encoders, for tests.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <quiver/quant_encoder.hpp>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "tests/support/load_plugin.hpp"

namespace quiver::test {

inline const QuantScheme& affine() {
  return load_plugin<QuantScheme>("quant-affine");
}

inline const QuantEncoder& encoder() {
  return *static_cast<const QuantEncoder*>(affine().extension(QuantEncoder::kInterfaceId));
}

/// A matrix to encode.
struct Matrix {
  std::int64_t rows;
  std::int64_t columns;
  std::vector<float> weights;
};

/// What an encoder made of a matrix.
struct Encoded {
  std::array<std::vector<std::byte>, 3> parts;
  std::vector<float> decoded;
};

inline Encoded encode(std::string_view name, const Matrix& matrix, QuantFormat format, DType type,
                      std::span<const float> importance = {}) {
  Encoded result;
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  affine().parts(format, matrix.columns, type, parts);
  std::array<std::span<std::byte>, 3> spans;
  std::array<std::span<const std::byte>, 3> views;
  for (std::size_t i = 0; i < 3; ++i) {
    result.parts[i].resize(static_cast<std::size_t>(matrix.rows * parts[i].columns) *
                           size_bytes(parts[i].dtype));
    spans[i] = result.parts[i];
    views[i] = result.parts[i];
  }
  encoder().encode(name, matrix.weights, matrix.rows, matrix.columns, format, type, importance,
                   spans);
  result.decoded.resize(matrix.weights.size());
  affine().decode({matrix.rows, matrix.columns, format, type, views}, 0, matrix.rows,
                  result.decoded);
  return result;
}

/// Sum of squared errors of columns [first, first + count) of one row, weighted by importance.
inline double squared_error(const Matrix& matrix, const Encoded& encoded, std::int64_t row,
                            std::int64_t first, std::int64_t count,
                            std::span<const float> importance = {}) {
  double sum = 0;
  for (std::int64_t c = first; c < first + count; ++c) {
    const auto i = static_cast<std::size_t>(row * matrix.columns + c);
    const double off = static_cast<double>(matrix.weights[i]) - encoded.decoded[i];
    sum += off * off * (importance.empty() ? 1.0 : importance[static_cast<std::size_t>(c)]);
  }
  return sum;
}

inline double squared_error(const Matrix& matrix, const Encoded& encoded,
                            std::span<const float> importance = {}) {
  double sum = 0;
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    sum += squared_error(matrix, encoded, r, 0, matrix.columns, importance);
  }
  return sum;
}

/// bfloat16 nearest to a value.
inline float to_bf16(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

/// Weights like those of a model, as bfloat16: Gaussian, or with Student's heavier tails.
inline Matrix random_matrix(std::int64_t rows, std::int64_t columns, bool is_gaussian,
                            std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::student_t_distribution<float> student(4);
  Matrix matrix{rows, columns, std::vector<float>(static_cast<std::size_t>(rows * columns))};
  for (float& weight : matrix.weights) {
    weight = to_bf16(0.02F * (is_gaussian ? normal(random) : student(random)));
  }
  return matrix;
}

}  // namespace quiver::test
