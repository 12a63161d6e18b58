// Describes the plugin; checks sizes and hands rows to the arithmetic.
#include <quiver/error.hpp>
#include <quiver/plugin.hpp>
#include <quiver/quant_scheme.hpp>

#include "affine.hpp"
#include "parameters.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace {

using quiver::DType;
using quiver::Error;
using quiver::ErrorCode;
using quiver::PackedFormat;
using quiver::QuantFormat;
using quiver::QuantizedMatrix;
using quiver::QuantPart;
using quiver::affine::Fault;

constexpr std::array<QuantFormat, 18> kFormats = {{
    {2, 32},
    {2, 64},
    {2, 128},
    {3, 32},
    {3, 64},
    {3, 128},
    {4, 32},
    {4, 64},
    {4, 128},
    {5, 32},
    {5, 64},
    {5, 128},
    {6, 32},
    {6, 64},
    {6, 128},
    {8, 32},
    {8, 64},
    {8, 128},
}};

enum Part : std::size_t { kWords = 0, kScales = 1, kBiases = 2, kParts = 3 };

bool is_format(const QuantFormat& format) {
  return std::any_of(kFormats.begin(), kFormats.end(), [&](const QuantFormat& known) {
    return known.bits == format.bits && known.group_size == format.group_size;
  });
}

/// Bytes of one row of each part, and the check that the format fits the columns.
struct RowSizes {
  std::array<std::size_t, kParts> bytes;

  RowSizes(const QuantFormat& format, std::int64_t columns, DType parameter_type) {
    if (!is_format(format) || !quiver::affine::is_parameter_type(parameter_type) || columns <= 0 ||
        columns % format.group_size != 0) {
      throw Error(ErrorCode::bad_input,
                  "affine does not store " + std::to_string(columns) + " columns with " +
                      std::to_string(format.bits) + " bits in groups of " +
                      std::to_string(format.group_size),
                  "quant scheme affine",
                  "bits are 2, 3, 4, 5, 6 or 8, groups 32, 64 or 128 that divide the columns, "
                  "parameters float32, float16 or bfloat16");
    }
    const auto wide = static_cast<std::size_t>(columns);
    bytes[kWords] = wide / 32 * static_cast<std::size_t>(format.bits) * sizeof(std::uint32_t);
    bytes[kScales] =
        wide / static_cast<std::size_t>(format.group_size) * quiver::size_bytes(parameter_type);
    bytes[kBiases] = bytes[kScales];
  }
};

/// Refuses where `actual` elements are not rows * row_size; never overflows.
void require_size(const char* what, std::size_t actual, std::int64_t rows, std::size_t row_size) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(rows, 0));
  if (rows >= 0 && actual % row_size == 0 && actual / row_size == count) return;
  throw Error(ErrorCode::bad_input,
              std::string(what) + " do not have the size of " + std::to_string(rows) + " rows",
              "quant scheme affine", "the matrix and its parts must agree in shape");
}

template <class Parts>
void require_parts(const Parts& parts, std::int64_t rows, const RowSizes& sizes) {
  if (parts.size() < kParts) {
    throw Error(ErrorCode::internal, "affine has three parts", "quant scheme affine");
  }
  require_size("codes", parts[kWords].size(), rows, sizes.bytes[kWords]);
  require_size("scales", parts[kScales].size(), rows, sizes.bytes[kScales]);
  require_size("biases", parts[kBiases].size(), rows, sizes.bytes[kBiases]);
}

class Affine final : public quiver::QuantScheme {
 public:
  std::string_view name() const override { return "affine"; }

  std::span<const QuantFormat> formats() const override { return kFormats; }

  int parts(const QuantFormat& format, std::int64_t columns, DType parameter_type,
            std::span<QuantPart> parts) const override {
    if (!is_format(format) || !quiver::affine::is_parameter_type(parameter_type)) return 0;
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
    const RowSizes sizes(format, columns, parameter_type);
    require_size("weights", weights.size(), rows, static_cast<std::size_t>(columns));
    require_parts(parts, rows, sizes);
    const auto wide = static_cast<std::size_t>(columns);
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
      const auto row = weights.subspan(r * wide, wide);
      const quiver::affine::EncodedRow encoded = {parts[kWords].data() + r * sizes.bytes[kWords],
                                                  parts[kScales].data() + r * sizes.bytes[kScales],
                                                  parts[kBiases].data() + r * sizes.bytes[kBiases]};
      const auto result = quiver::affine::encode_row(format, parameter_type, row, encoded);
      if (result.fault != Fault::none) refuse(result, row, r);
    }
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
      const quiver::affine::EncodedRowView encoded = {
          matrix.parts[kWords].data() + r * sizes.bytes[kWords],
          matrix.parts[kScales].data() + r * sizes.bytes[kScales],
          matrix.parts[kBiases].data() + r * sizes.bytes[kBiases]};
      quiver::affine::decode_row(matrix.format, matrix.parameter_type, encoded,
                                 weights.subspan(i * wide, wide));
    }
  }

  PackedFormat packed_format(const QuantFormat& format) const override {
    return is_format(format) ? PackedFormat::affine : PackedFormat::none;
  }

 private:
  [[noreturn]] static void refuse(const quiver::affine::EncodeResult& result,
                                  std::span<const float> row, std::size_t index) {
    std::size_t column = result.column;
    const auto where = [&] {
      return "row " + std::to_string(index) + ", column " + std::to_string(column);
    };
    if (result.fault == Fault::parameter_overflows) {
      throw Error(ErrorCode::bad_input, "weights too large for their scale and bias",
                  where() + " and the rest of its group",
                  "store the parameters as float32 or bfloat16");
    }
    while (column + 1 < row.size() && std::isfinite(row[column])) ++column;
    throw Error(ErrorCode::bad_input, "a weight is NaN or infinite", where(),
                "repair the checkpoint, or leave this tensor unquantized");
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
