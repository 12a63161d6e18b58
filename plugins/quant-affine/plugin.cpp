// Describes the plugin; checks sizes and hands rows to the arithmetic.
#include <quiver/error.hpp>
#include <quiver/plugin.hpp>
#include <quiver/quant_scheme.hpp>

#include "affine.hpp"
#include "encoders.hpp"
#include "layout.hpp"
#include "parameters.hpp"

#include <string>

namespace {

using quiver::DType;
using quiver::Error;
using quiver::ErrorCode;
using quiver::PackedFormat;
using quiver::QuantFormat;
using quiver::QuantizedMatrix;
using quiver::QuantPart;
using namespace quiver::affine;

class Affine final : public quiver::QuantScheme {
 public:
  std::string_view name() const override { return "affine"; }

  std::span<const QuantFormat> formats() const override { return quiver::affine::formats(); }

  int parts(const QuantFormat& format, std::int64_t columns, DType parameter_type,
            std::span<QuantPart> parts) const override {
    if (!is_format(format) || !is_parameter_type(parameter_type)) return 0;
    if (columns <= 0 || columns % format.group_size != 0 || parts.size() < kParts) return 0;
    const std::int64_t groups = columns / format.group_size;
    parts[kWords] = {".weight", DType::u32, columns / 32 * format.bits};
    parts[kScales] = {".scales", parameter_type, groups};
    parts[kBiases] = {".biases", parameter_type, groups};
    return kParts;
  }

  void encode(std::span<const float> weights, std::int64_t rows, std::int64_t columns,
              const QuantFormat& format, DType parameter_type,
              std::span<const std::span<std::byte>> parts) const override {
    encode_rows({weights, rows, columns, format, parameter_type, parts},
                [&](std::span<const float> row, const EncodedRow& encoded) {
                  return encode_row(format, parameter_type, row, encoded);
                });
  }

  void decode(const QuantizedMatrix& matrix, std::int64_t first_row, std::int64_t row_count,
              std::span<float> weights) const override {
    const RowSizes sizes(matrix.format, matrix.columns, matrix.parameter_type);
    require_parts(matrix.parts, matrix.rows, sizes);
    const auto wide = static_cast<std::size_t>(matrix.columns);
    require_size("decoded weights", weights.size(), row_count, wide);
    if (first_row < 0 || first_row > matrix.rows || row_count > matrix.rows - first_row) {
      throw Error(ErrorCode::internal, "the matrix has " + std::to_string(matrix.rows) + " rows",
                  "quant scheme affine");
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(row_count); ++i) {
      const std::size_t r = static_cast<std::size_t>(first_row) + i;
      const EncodedRowView encoded = {matrix.parts[kWords].data() + r * sizes.bytes[kWords],
                                      matrix.parts[kScales].data() + r * sizes.bytes[kScales],
                                      matrix.parts[kBiases].data() + r * sizes.bytes[kBiases]};
      decode_row(matrix.format, matrix.parameter_type, encoded, weights.subspan(i * wide, wide));
    }
  }

  PackedFormat packed_format(const QuantFormat& format) const override {
    return is_format(format) ? PackedFormat::affine : PackedFormat::none;
  }

  const void* extension(std::string_view interface_id) const override {
    return quiver::provide<quiver::QuantEncoder>(interface_id, encoders());
  }
};

const void* get(std::string_view id) {
  static const Affine affine;
  return quiver::provide<quiver::QuantScheme>(id, affine);
}

}  // namespace

QUIVER_PLUGIN(get, "quant-affine", "1.0.0", "Apache-2.0", "Affine quantization as MLX stores it",
              QUIVER_OFFER_QUANT_SCHEME(
                  "affine",
                  "Scale and bias a group; 2, 3, 4, 5, 6 or 8 bits, groups of 32, 64, 128"));
