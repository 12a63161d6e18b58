// The formats of affine matrices, and the sizes of their rows and parts.
#include "layout.hpp"

#include "parameters.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace quiver::affine {
namespace {

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

[[noreturn]] void refuse(const EncodeResult& result, std::span<const float> row,
                         std::size_t index) {
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

}  // namespace

std::span<const QuantFormat> formats() noexcept {
  return kFormats;
}

bool is_format(const QuantFormat& format) noexcept {
  return std::any_of(kFormats.begin(), kFormats.end(), [&](const QuantFormat& known) {
    return known.bits == format.bits && known.group_size == format.group_size;
  });
}

RowSizes::RowSizes(const QuantFormat& format, std::int64_t columns, DType parameter_type) {
  if (!is_format(format) || !is_parameter_type(parameter_type) || columns <= 0 ||
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
  bytes[kScales] = wide / static_cast<std::size_t>(format.group_size) * size_bytes(parameter_type);
  bytes[kBiases] = bytes[kScales];
}

void require_size(const char* what, std::size_t actual, std::int64_t rows, std::size_t row_size) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(rows, 0));
  if (rows >= 0 && actual % row_size == 0 && actual / row_size == count) return;
  throw Error(ErrorCode::bad_input,
              std::string(what) + " do not have the size of " + std::to_string(rows) + " rows",
              "quant scheme affine", "the matrix and its parts must agree in shape");
}

void encode_rows(
    const Encoding& encoding,
    const std::function<EncodeResult(std::span<const float>, const EncodedRow&)>& encode_one) {
  const RowSizes sizes(encoding.format, encoding.columns, encoding.parameter_type);
  const auto wide = static_cast<std::size_t>(encoding.columns);
  require_size("weights", encoding.weights.size(), encoding.rows, wide);
  require_parts(encoding.parts, encoding.rows, sizes);
  for (std::size_t r = 0; r < static_cast<std::size_t>(encoding.rows); ++r) {
    const auto row = encoding.weights.subspan(r * wide, wide);
    const EncodedRow encoded = {encoding.parts[kWords].data() + r * sizes.bytes[kWords],
                                encoding.parts[kScales].data() + r * sizes.bytes[kScales],
                                encoding.parts[kBiases].data() + r * sizes.bytes[kBiases]};
    const EncodeResult result = encode_one(row, encoded);
    if (result.fault != Fault::none) refuse(result, row, r);
  }
}

}  // namespace quiver::affine
