// Sizes and names of stored tensors.
#include "core/tensor/tensor_view.hpp"

#include <array>
#include <utility>

namespace quiver {

namespace {

constexpr std::array<std::pair<DType, std::string_view>, 13> kNames = {{
    {DType::f32, "F32"},
    {DType::f16, "F16"},
    {DType::bf16, "BF16"},
    {DType::f64, "F64"},
    {DType::u8, "U8"},
    {DType::i8, "I8"},
    {DType::u16, "U16"},
    {DType::i16, "I16"},
    {DType::u32, "U32"},
    {DType::i32, "I32"},
    {DType::u64, "U64"},
    {DType::i64, "I64"},
    {DType::boolean, "BOOL"},
}};

std::int64_t product(std::span<const std::int64_t> dimensions) noexcept {
  std::int64_t result = 1;
  for (const std::int64_t dimension : dimensions) result *= dimension;
  return result;
}

}  // namespace

std::int64_t TensorView::elements() const noexcept {
  return product(shape);
}

std::int64_t TensorView::rows() const noexcept {
  const std::span<const std::int64_t> all = shape;
  return all.empty() ? 1 : product(all.first(all.size() - 1));
}

std::span<const std::byte> TensorView::row_bytes(std::int64_t first,
                                                 std::int64_t count) const noexcept {
  const std::size_t row = static_cast<std::size_t>(columns()) * size_bytes(dtype);
  return data.subspan(static_cast<std::size_t>(first) * row, static_cast<std::size_t>(count) * row);
}

std::string_view dtype_name(DType type) noexcept {
  for (const auto& [known, name] : kNames) {
    if (known == type) return name;
  }
  return "?";
}

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const auto& [type, known] : kNames) {
    if (known == name) return type;
  }
  return std::nullopt;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace quiver
