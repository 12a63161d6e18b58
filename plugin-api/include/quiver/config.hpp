// Read access to a model's config.json.
#pragma once

#include <quiver/error.hpp>

#include <cmath>
#include <string>
#include <string_view>

namespace quiver {

/// A model's configuration. Values are addressed by a path of keys joined with dots, elements of
/// arrays by their index: "rope_scaling.factor", "layer_types.3". Implemented by the host; lives
/// through Architecture::create and must not be kept. [any-thread]
class Config {
 public:
  virtual ~Config() = default;

  /// Whether the path exists and is not null.
  virtual bool has(std::string_view path) const = 0;

  /// Reads a number (or a boolean as 0 or 1) into `value`. False where the path is absent or null;
  /// throws Error(bad_input) naming the path where another type stands there.
  virtual bool read_number(std::string_view path, double& value) const = 0;

  /// Reads a text; it is valid as long as this object. Absence and errors as above.
  virtual bool read_text(std::string_view path, std::string_view& value) const = 0;

  /// Number of elements of an array or members of an object; -1 where the path is absent or null or
  /// holds a plain value.
  virtual int count(std::string_view path) const = 0;

  // What plugins usually call: without a fallback a missing value is an Error(bad_input) that names
  // it.

  double number(std::string_view path) const {
    double value = 0;
    if (!read_number(path, value)) missing(path);
    return value;
  }
  double number(std::string_view path, double fallback) const {
    double value = fallback;
    return read_number(path, value) ? value : fallback;
  }
  /// A whole number within [minimum, 2^31): sizes and counts, which a hostile file may lie about.
  int integer(std::string_view path, int minimum = 1) const {
    return whole(path, number(path), minimum);
  }
  int integer_or(std::string_view path, int fallback, int minimum = 1) const {
    double value = 0;
    return read_number(path, value) ? whole(path, value, minimum) : fallback;
  }
  bool flag(std::string_view path, bool fallback) const {
    return number(path, fallback ? 1.0 : 0.0) != 0;
  }
  std::string text(std::string_view path) const {
    std::string_view value;
    if (!read_text(path, value)) missing(path);
    return std::string(value);
  }
  std::string text(std::string_view path, std::string_view fallback) const {
    std::string_view value = fallback;
    return std::string(read_text(path, value) ? value : fallback);
  }

 private:
  [[noreturn]] static void missing(std::string_view path) {
    throw Error(ErrorCode::bad_input, "a required value is missing",
                "config.json, " + std::string(path), "add it, or use a complete checkpoint");
  }
  static int whole(std::string_view path, double value, int minimum) {
    if (!(value >= minimum && value < 2147483648.0) || value != std::floor(value)) {
      throw Error(ErrorCode::bad_input, "not a whole number of at least " + std::to_string(minimum),
                  "config.json, " + std::string(path), "correct the file");
    }
    return static_cast<int>(value);
  }
};

}  // namespace quiver
