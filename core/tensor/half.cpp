// Whole arrays of stored elements to float32 and back.
#include "core/tensor/half.hpp"

#include <quiver/error.hpp>

#include <cstring>

namespace quiver {

namespace {

static_assert(std::endian::native == std::endian::little,
              "stored tensors are little-endian and are read without swapping");

void require_size(DType type, std::size_t bytes, std::size_t elements) {
  if (bytes / size_bytes(type) != elements || bytes % size_bytes(type) != 0) {
    throw Error(ErrorCode::internal, "element conversion between buffers of different sizes");
  }
}

template <class Stored, class Convert>
void read_all(std::span<const std::byte> bytes, std::span<float> values, Convert convert) {
  const std::byte* from = bytes.data();
  float* to = values.data();
  const std::size_t count = values.size();
  for (std::size_t i = 0; i < count; ++i) {
    Stored element;
    // Files align nothing, so elements are copied out; compilers turn this into plain loads.
    std::memcpy(&element, from + i * sizeof(Stored), sizeof(Stored));
    to[i] = convert(element);
  }
}

template <class Stored>
void read_numbers(std::span<const std::byte> bytes, std::span<float> values) {
  read_all<Stored>(bytes, values, [](Stored element) { return static_cast<float>(element); });
}

template <class Convert>
void write_all(std::span<const float> values, std::span<std::byte> bytes, Convert convert) {
  const float* from = values.data();
  std::byte* to = bytes.data();
  const std::size_t count = values.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t element = convert(from[i]);
    std::memcpy(to + i * sizeof(element), &element, sizeof(element));
  }
}

}  // namespace

void to_float(DType type, std::span<const std::byte> bytes, std::span<float> values) {
  require_size(type, bytes.size(), values.size());
  if (values.empty()) return;
  switch (type) {
    case DType::f32: std::memcpy(values.data(), bytes.data(), bytes.size()); return;
    case DType::f16: return read_all<std::uint16_t>(bytes, values, f16_to_f32);
    case DType::bf16: return read_all<std::uint16_t>(bytes, values, bf16_to_f32);
    case DType::f64: return read_numbers<double>(bytes, values);
    case DType::u8: return read_numbers<std::uint8_t>(bytes, values);
    case DType::i8: return read_numbers<std::int8_t>(bytes, values);
    case DType::u16: return read_numbers<std::uint16_t>(bytes, values);
    case DType::i16: return read_numbers<std::int16_t>(bytes, values);
    case DType::u32: return read_numbers<std::uint32_t>(bytes, values);
    case DType::i32: return read_numbers<std::int32_t>(bytes, values);
    case DType::u64: return read_numbers<std::uint64_t>(bytes, values);
    case DType::i64: return read_numbers<std::int64_t>(bytes, values);
    case DType::boolean:
      return read_all<std::uint8_t>(bytes, values, [](std::uint8_t b) { return b ? 1.0F : 0.0F; });
  }
}

void from_float(std::span<const float> values, DType type, std::span<std::byte> bytes) {
  require_size(type, bytes.size(), values.size());
  if (values.empty()) return;
  switch (type) {
    case DType::f32: std::memcpy(bytes.data(), values.data(), bytes.size()); return;
    case DType::f16: return write_all(values, bytes, f32_to_f16);
    case DType::bf16: return write_all(values, bytes, f32_to_bf16);
    default: throw Error(ErrorCode::internal, "float32 is only ever stored as f32, f16 or bf16");
  }
}

}  // namespace quiver
