// Named options of samplers, quant schemes and KV strategies: what exists, and what a user chose.
#pragma once

#include <quiver/error.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace quiver {

enum class OptionKind : std::uint32_t { number = 0, integer = 1, flag = 2, text = 3 };

/// One option, as `plugins inspect` prints it. The texts live as long as the plugin.
struct OptionSpec {
  const char* name;      ///< What users type before '='.
  const char* summary;   ///< One line for people.
  OptionKind kind;       ///< Flags are numbers 0 and 1.
  double default_value;  ///< For number, integer and flag.
  double minimum;        ///< Inclusive; the host refuses values below before a plugin sees them.
  double maximum;        ///< Inclusive.
  const char* default_text;  ///< For text; nullptr otherwise.
};

/// The values for one instance: the user's where given, else the defaults. Made by the host, which
/// has refused unknown names, wrong kinds and values out of range by then. [any-thread]
class Options {
 public:
  virtual ~Options() = default;

  /// Value of a number, integer or flag; throws Error(internal) for a name without a spec.
  virtual double number(std::string_view name) const = 0;

  /// Value of a text; valid as long as this object.
  virtual std::string_view text(std::string_view name) const = 0;

  int integer(std::string_view name) const { return static_cast<int>(number(name)); }
  bool flag(std::string_view name) const { return number(name) != 0; }
};

}  // namespace quiver
