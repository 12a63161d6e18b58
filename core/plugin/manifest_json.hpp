// Strict reading of a small JSON document: exact keys, bounded texts, no repetition, no depth.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

namespace quiver::manifest {

using Json = nlohmann::json;

/// Throws Error(plugin): `what` is wrong at `where`.
[[noreturn]] void refuse(const std::string& what, const std::string& where);

/// Parses `text`; refuses more than `most_bytes`, invalid JSON or UTF-8, repeated keys and deep
/// nesting with refuse(). [any-thread]
Json parse_json(std::string_view text, std::size_t most_bytes, const std::string& where);

/// One object of a document, read key by key. Every reading refuses a missing key and another type.
/// The value must outlive it.
class Object {
 public:
  /// `where` names the object in errors; keys other than `keys` are refused by name.
  Object(const Json& value, std::string where, std::initializer_list<std::string_view> keys);

  /// Where the value of a key stands, for errors.
  std::string at(std::string_view key) const { return where_ + ", " + std::string(key); }

  bool has(std::string_view key) const { return value_.contains(key); }

  /// A text without control characters that fits a field of `field_bytes` with its final zero.
  std::string text(std::string_view key, std::size_t field_bytes) const;

  /// A text that users type: lower case letters, digits, '-', '_' and '.'.
  std::string name(std::string_view key, std::size_t field_bytes) const;

  /// A finite number.
  double number(std::string_view key) const;

  /// A list of 1 to `most` elements.
  const Json& array(std::string_view key, std::size_t most) const;

 private:
  const Json& get(std::string_view key) const;

  const Json& value_;
  std::string where_;
};

}  // namespace quiver::manifest
