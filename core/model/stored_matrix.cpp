// A weight matrix as it lies in a checkpoint: dense in a float type, or quantized by a scheme.
#include "core/model/stored_matrix.hpp"

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
  std::size_t bytes = dense.size();
  for (int i = 0; i < part_count; ++i) bytes += parts[static_cast<std::size_t>(i)].size();
  return bytes;
}

void StoredMatrix::decode(std::int64_t first, std::int64_t count, std::span<float> out) const {
  if (scheme == nullptr) {
    const std::size_t row = static_cast<std::size_t>(columns) * quiver::size_bytes(dtype);
    decode_floats(dtype, dense.data() + static_cast<std::size_t>(first) * row,
                  static_cast<std::size_t>(count * columns), out.data());
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
  if (dtype != DType::f32 || dense.empty()) return nullptr;
  if (reinterpret_cast<std::uintptr_t>(dense.data()) % alignof(float) != 0) return nullptr;
  return reinterpret_cast<const float*>(dense.data()) + first * columns;
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
