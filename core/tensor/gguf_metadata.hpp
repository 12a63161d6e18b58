// The typed keys and values at the beginning of a GGUF file.
#pragma once

#include "core/tensor/byte_cursor.hpp"

#include <quiver/error.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace quiver {

/// Kinds of values, with the numbers that files use for them.
enum class GgufKind : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

/// "u32", "string", ... for messages and listings. [any-thread]
std::string_view gguf_kind_name(GgufKind kind) noexcept;

/// A single value: every unsigned kind as uint64, every signed one as int64, both floats as double.
using GgufScalar = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view>;

/// A list of values of one kind. Numbers stay in the file's bytes until they are asked for.
struct GgufArray {
  GgufKind kind = GgufKind::u8;           ///< Of the items.
  std::size_t count = 0;                  ///< Number of items.
  std::span<const std::byte> numbers;     ///< The items as stored, unless they are of the two
  std::vector<std::string_view> strings;  ///< kinds that have a list of their own here.
  std::vector<GgufArray> arrays;

  /// Item `i` of an array of numbers, truth values or strings. REQUIRES: i < count, and the items
  /// are not arrays. [any-thread]
  GgufScalar item(std::size_t i) const;
};

struct GgufEntry {
  std::string_view key;
  GgufKind kind = GgufKind::u8;
  std::variant<GgufScalar, GgufArray> value;
};

/// What values can be asked for as. Integers convert between all widths as long as the number fits;
/// float and double also take integers; nothing else converts.
template <class T>
concept GgufReadable =
    std::integral<T> || std::floating_point<T> || std::same_as<T, std::string_view>;

/// The metadata of one file. Keys and strings point into the file's bytes and live as long as
/// these. A value of another type than asked for throws Error(bad_input) naming key, both types and
/// file. Const members: [any-thread].
class GgufMetadata {
 public:
  GgufMetadata() = default;

  /// Reads `count` entries at the cursor. Refused with Error(bad_input): duplicate keys, unknown
  /// kinds, truth values other than 0 and 1, arrays nested more than 4 deep, counts and lengths
  /// that the rest of the file cannot hold, more than 65,536 keys or 16 million strings in arrays.
  /// `where` is the file's name in messages. [load-thread]
  GgufMetadata(ByteCursor& cursor, std::uint64_t count, std::string where);

  /// All entries in the order of the file.
  std::span<const GgufEntry> entries() const noexcept { return entries_; }

  /// The entry of that key, or nullptr. Logarithmic in the number of keys.
  const GgufEntry* find_entry(std::string_view key) const noexcept;

  bool has(std::string_view key) const noexcept { return find_entry(key) != nullptr; }

  /// The value of `key`; throws Error(bad_input) where it is missing.
  template <GgufReadable T>
  T get(std::string_view key) const {
    return convert<T>(scalar_of(entry_at(key)), key);
  }

  /// The value of `key`, or nothing where it is missing.
  template <GgufReadable T>
  std::optional<T> find(std::string_view key) const {
    const GgufEntry* entry = find_entry(key);
    if (entry == nullptr) return std::nullopt;
    return convert<T>(scalar_of(*entry), key);
  }

  /// The items of the array `key`; throws Error(bad_input) where it is missing.
  template <GgufReadable T>
  std::vector<T> get_array(std::string_view key) const {
    return convert_all<T>(array_of(entry_at(key)), key);
  }

  /// The items of the array `key`, or nothing where it is missing.
  template <GgufReadable T>
  std::optional<std::vector<T>> find_array(std::string_view key) const {
    const GgufEntry* entry = find_entry(key);
    if (entry == nullptr) return std::nullopt;
    return convert_all<T>(array_of(*entry), key);
  }

  /// The strings of the array `key` without a copy; throws Error(bad_input) where it is missing.
  std::span<const std::string_view> strings(std::string_view key) const;

 private:
  template <GgufReadable T>
  T convert(const GgufScalar& value, std::string_view key) const;
  template <GgufReadable T>
  std::vector<T> convert_all(const GgufArray& array, std::string_view key) const;

  const GgufEntry& entry_at(std::string_view key) const;
  const GgufScalar& scalar_of(const GgufEntry& entry) const;
  const GgufArray& array_of(const GgufEntry& entry) const;
  [[noreturn]] void fail_kind(std::string_view key, std::string_view expected) const;
  [[noreturn]] void fail_range(std::string_view key) const;

  std::string where_;
  std::vector<GgufEntry> entries_;
  std::vector<std::uint32_t> by_key_;  // Indices into entries_, sorted by key.
};

template <GgufReadable T>
T GgufMetadata::convert(const GgufScalar& value, std::string_view key) const {
  if constexpr (std::same_as<T, bool>) {
    if (const bool* flag = std::get_if<bool>(&value)) return *flag;
    fail_kind(key, "a truth value");
  } else if constexpr (std::same_as<T, std::string_view>) {
    if (const auto* text = std::get_if<std::string_view>(&value)) return *text;
    fail_kind(key, "a string");
  } else {
    const auto* positive = std::get_if<std::uint64_t>(&value);
    const auto* negative = std::get_if<std::int64_t>(&value);
    if constexpr (std::floating_point<T>) {
      if (const double* number = std::get_if<double>(&value)) return static_cast<T>(*number);
      if (positive != nullptr) return static_cast<T>(*positive);
      if (negative != nullptr) return static_cast<T>(*negative);
      fail_kind(key, "a number");
    } else {
      if (positive == nullptr && negative == nullptr) fail_kind(key, "an integer");
      if (positive != nullptr ? !std::in_range<T>(*positive) : !std::in_range<T>(*negative)) {
        fail_range(key);
      }
      return positive != nullptr ? static_cast<T>(*positive) : static_cast<T>(*negative);
    }
  }
}

template <GgufReadable T>
std::vector<T> GgufMetadata::convert_all(const GgufArray& array, std::string_view key) const {
  if (array.kind == GgufKind::array) fail_kind(key, "an array of plain values");
  std::vector<T> items;
  // What the items are is known from one; asking it first keeps a wrong type from costing memory.
  if (array.count > 0) convert<T>(array.item(0), key);
  items.reserve(array.count);
  for (std::size_t i = 0; i < array.count; ++i) items.push_back(convert<T>(array.item(i), key));
  return items;
}

}  // namespace quiver
