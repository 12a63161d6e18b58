// A stored tensor as it lies in a file.
#pragma once

#include <quiver/dtype.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Most dimensions of a stored tensor; files with more are refused.
inline constexpr std::size_t kMaxDimensions = 8;

/// A tensor inside a file: row-major elements that the view does not own. `name` and `data` are
/// valid as long as the file object that made the view. `data` may begin at any address, aligned to
/// its elements or not: read it with memcpy or to_float().
struct TensorView {
  std::string_view name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;  ///< Outermost first; empty for a single number.
  std::span<const std::byte> data;  ///< elements() * size_bytes(dtype) bytes.

  /// Number of elements: the product of the shape, 1 for an empty one. [any-thread]
  std::int64_t elements() const noexcept;

  /// Length of the last dimension; 1 for an empty shape. [any-thread]
  std::int64_t columns() const noexcept { return shape.empty() ? 1 : shape.back(); }

  /// Product of all dimensions but the last; 1 for an empty shape. [any-thread]
  std::int64_t rows() const noexcept;

  /// The bytes of rows [first, first + count). REQUIRES: they lie within rows(). [any-thread]
  std::span<const std::byte> row_bytes(std::int64_t first, std::int64_t count) const noexcept;
};

/// A tensor's name, type and shape without its data, as listings and writers need it.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
};

/// "F32", "BF16", ... as the safetensors format spells them. [any-thread]
std::string_view dtype_name(DType type) noexcept;

/// The type of that safetensors name, or nothing. [any-thread]
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

/// "[2, 3]", the way messages show shapes. [any-thread]
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace quiver
