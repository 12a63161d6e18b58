// A weight matrix as it lies in a checkpoint: dense in a float type, or quantized by a scheme.
#include "core/model/stored_matrix.hpp"

#include <algorithm>
#include <cstring>
#include <quiver/error.hpp>
#include <vector>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

/// Affine rows of 4 or 8 bits through core's own kernels.
void decode_affine(const StoredMatrix& matrix, std::int64_t first, std::int64_t count, float* out) {
  const auto columns = static_cast<std::size_t>(matrix.columns);
  const std::size_t groups = columns / static_cast<std::size_t>(matrix.format.group_size);
  const std::size_t row_bytes = columns * static_cast<std::size_t>(matrix.format.bits) / 8;
  const std::size_t group_bytes = groups * size_bytes(matrix.dtype);
  std::vector<float> parameters(2 * groups);
  const auto decode =
      matrix.format.bits == 4 ? kernels().floats->decode_affine4 : kernels().floats->decode_affine8;
  for (std::int64_t row = first; row < first + count; ++row) {
    const auto r = static_cast<std::size_t>(row);
    decode_floats(matrix.dtype, matrix.parts[1].data() + r * group_bytes, groups,
                  parameters.data());
    decode_floats(matrix.dtype, matrix.parts[2].data() + r * group_bytes, groups,
                  parameters.data() + groups);
    decode(matrix.parts[0].data() + r * row_bytes, parameters.data(), parameters.data() + groups,
           static_cast<int>(columns), matrix.format.group_size, out);
    out += columns;
  }
}

}  // namespace

std::size_t StoredMatrix::size_bytes() const {
  std::size_t bytes = 0;
  for (const auto& part : stored_bytes()) bytes += part.size();
  return bytes;
}

std::vector<std::span<const std::byte>> StoredMatrix::stored_bytes() const {
  std::vector<std::span<const std::byte>> all(pieces.begin(), pieces.end());
  if (!dense.empty()) all.push_back(dense);
  all.insert(all.end(), parts.begin(), parts.begin() + part_count);
  return all;
}

const std::byte* StoredMatrix::dense_row(std::int64_t row) const noexcept {
  const std::size_t bytes = static_cast<std::size_t>(columns) * quiver::size_bytes(dtype);
  if (pieces.empty()) return dense.data() + static_cast<std::size_t>(row) * bytes;
  const std::int64_t piece_rows = rows / static_cast<std::int64_t>(pieces.size());
  return pieces[static_cast<std::size_t>(row / piece_rows)].data() +
         static_cast<std::size_t>(row % piece_rows) * bytes;
}

void StoredMatrix::decode(std::int64_t first, std::int64_t count, std::span<float> out) const {
  if (scheme == nullptr) {
    const std::int64_t piece_rows =
        pieces.empty() ? rows : rows / static_cast<std::int64_t>(pieces.size());
    float* target = out.data();
    while (count > 0) {
      const std::int64_t together = std::min(count, piece_rows - first % piece_rows);
      decode_floats(dtype, dense_row(first), static_cast<std::size_t>(together * columns), target);
      target += together * columns;
      first += together;
      count -= together;
    }
  } else if (scheme->packed_format(format) == PackedFormat::affine &&
             (format.bits == 4 || format.bits == 8) && format.group_size % 32 == 0) {
    decode_affine(*this, first, count, out.data());
  } else {
    const QuantizedMatrix matrix{
        rows, columns, format, dtype, {parts.data(), static_cast<std::size_t>(part_count)}};
    scheme->decode(matrix, first, count, out);
  }
}

const float* StoredMatrix::direct(std::int64_t first) const {
  if (dtype != DType::f32 || scheme != nullptr || !is_dense()) return nullptr;
  const std::byte* row = dense_row(first);
  if (reinterpret_cast<std::uintptr_t>(row) % alignof(float) != 0) return nullptr;
  return reinterpret_cast<const float*>(row);
}

void decode_floats(DType dtype, const std::byte* bytes, std::size_t count, float* out) {
  switch (dtype) {
    case DType::f32: std::memcpy(out, bytes, count * sizeof(float)); return;
    case DType::bf16: kernels().floats->bf16_to_f32(bytes, count, out); return;
    case DType::f16: kernels().floats->f16_to_f32(bytes, count, out); return;
    default: throw Error(ErrorCode::internal, "decode_floats of a type that is not a float");
  }
}

}  // namespace quiver
