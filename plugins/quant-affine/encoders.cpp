// The ways to encode an affine matrix.
#include "encoders.hpp"

#include <quiver/error.hpp>

#include "affine.hpp"
#include "layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace quiver::affine {
namespace {

constexpr int kWidestSearch = 4;

constexpr std::array<QuantEncoderInfo, 3> kEncoders = {{
    {"exact", "As MLX encodes, bit for bit", false},
    {"refit", "Least squares over scale, bias and codes, weighted by importance", true},
    {"search", "The better of fifteen ranges a group up to 4 bits, else exact", false},
}};

[[noreturn]] void refuse_importance(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::bad_input, what, where,
              "give one finite importance of zero or more for each column, or none at all");
}

/// For each column a share of the largest importance in its group: sums stay in range, and groups
/// without any count their columns alike.
std::vector<float> shares(std::span<const float> importance, std::size_t columns,
                          std::size_t group_size) {
  if (importance.empty()) return std::vector<float>(columns, 1.0F);
  if (importance.size() != columns) {
    refuse_importance(std::to_string(importance.size()) + " importances for " +
                          std::to_string(columns) + " columns",
                      "encoder refit");
  }
  std::vector<float> result(importance.begin(), importance.end());
  for (std::size_t i = 0; i < columns; ++i) {
    if (!std::isfinite(result[i]) || result[i] < 0) {
      refuse_importance("an importance is negative or not finite", "column " + std::to_string(i));
    }
  }
  for (std::size_t first = 0; first < columns; first += group_size) {
    const std::span<float> group(result.data() + first, group_size);
    const float largest = *std::max_element(group.begin(), group.end());
    for (float& value : group) value = largest > 0 ? value / largest : 1.0F;
  }
  return result;
}

class Encoders final : public QuantEncoder {
 public:
  std::span<const QuantEncoderInfo> encoders() const override { return kEncoders; }

  void encode(std::string_view encoder, std::span<const float> weights, std::int64_t rows,
              std::int64_t columns, const QuantFormat& format, DType parameter_type,
              std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    const Encoding encoding{weights, rows, columns, format, parameter_type, parts};
    const bool searches = encoder == "search" && format.bits <= kWidestSearch;
    if (encoder == "refit") {
      const RowSizes sizes(format, columns, parameter_type);  // refuses what the format lacks
      const std::vector<float> counted = shares(importance, static_cast<std::size_t>(columns),
                                                static_cast<std::size_t>(format.group_size));
      encode_rows(encoding, [&](std::span<const float> row, const EncodedRow& encoded) {
        return refit_row(format, parameter_type, row, counted, encoded);
      });
    } else if (searches) {
      encode_rows(encoding, [&](std::span<const float> row, const EncodedRow& encoded) {
        return search_row(format, parameter_type, row, encoded);
      });
    } else if (encoder == "exact" || encoder == "search") {
      encode_rows(encoding, [&](std::span<const float> row, const EncodedRow& encoded) {
        return encode_row(format, parameter_type, row, encoded);
      });
    } else {
      throw Error(ErrorCode::usage, "affine has no encoder '" + std::string(encoder) + "'",
                  "quant scheme affine", "its encoders are exact, refit and search");
    }
  }
};

}  // namespace

const QuantEncoder& encoders() noexcept {
  static const Encoders all;
  return all;
}

}  // namespace quiver::affine
