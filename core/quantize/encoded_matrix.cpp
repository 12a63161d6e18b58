// A matrix of a model quantized anew, in memory.
#include "core/quantize/encoded_matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <quiver/error.hpp>

#include "core/plugin/call_plugin.hpp"

namespace quiver {
namespace {

// Rows of one task: enough to make handing it out cheap, few enough to bound the decoded copy.
constexpr std::int64_t kTaskElements = std::int64_t{1} << 18U;

std::span<const QuantPart> parts_of(const QuantScheme& scheme, const QuantFormat& format,
                                    std::int64_t columns, DType parameter_type,
                                    std::array<QuantPart, QuantScheme::kMaxParts>& parts) {
  const int count = scheme.parts(format, columns, parameter_type, parts);
  return {parts.data(), static_cast<std::size_t>(std::clamp(count, 0, QuantScheme::kMaxParts))};
}

std::size_t row_bytes(const QuantPart& part) {
  return static_cast<std::size_t>(part.columns) * size_bytes(part.dtype);
}

}  // namespace

EncodedMatrix::EncodedMatrix(const StoredMatrix& source, const std::string& name,
                             const QuantFormat& format, const MatrixEncoder& encoder,
                             std::span<const float> importance, ThreadPool& threads) {
  std::array<QuantPart, QuantScheme::kMaxParts> storage{};
  const auto parts = parts_of(*encoder.scheme, format, source.columns, source.dtype, storage);
  if (parts.empty()) {
    throw Error(ErrorCode::usage,
                fmt::format("{} bits in groups of {} do not fit a matrix of {} columns",
                            format.bits, format.group_size, source.columns),
                name, "use a group size that divides the columns");
  }
  matrix_.rows = source.rows;
  matrix_.columns = source.columns;
  matrix_.dtype = source.dtype;
  matrix_.scheme = encoder.scheme;
  matrix_.format = format;
  matrix_.part_count = static_cast<int>(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parts_.emplace_back(row_bytes(parts[i]) * static_cast<std::size_t>(source.rows));
    matrix_.parts[i] = parts_[i];
  }
  const std::int64_t step = std::max<std::int64_t>(1, kTaskElements / source.columns);
  const auto tasks = static_cast<int>((source.rows + step - 1) / step);
  threads.run(tasks, [&](int task, int) {
    const std::int64_t first = task * step;
    const std::int64_t rows = std::min(step, source.rows - first);
    std::vector<float> weights(static_cast<std::size_t>(rows * source.columns));
    source.decode(first, rows, weights);
    std::array<std::span<std::byte>, QuantScheme::kMaxParts> out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      out[i] = std::span(parts_[i]).subspan(static_cast<std::size_t>(first) * row_bytes(parts[i]),
                                            static_cast<std::size_t>(rows) * row_bytes(parts[i]));
    }
    try {
      call_plugin(encoder.scheme->name(), "encoding a matrix", [&] {
        encoder.encode(weights, rows, source.columns, format, source.dtype, importance,
                       {out.data(), parts.size()});
      });
    } catch (const Error& error) {
      throw Error(error.code(), error.message(), name, error.hint());
    }
  });
}

std::size_t encoded_bytes(const QuantScheme& scheme, const QuantFormat& format, std::int64_t rows,
                          std::int64_t columns, DType parameter_type) {
  std::array<QuantPart, QuantScheme::kMaxParts> storage{};
  std::size_t bytes = 0;
  for (const QuantPart& part : parts_of(scheme, format, columns, parameter_type, storage)) {
    bytes += row_bytes(part) * static_cast<std::size_t>(rows);
  }
  return bytes;
}

}  // namespace quiver
