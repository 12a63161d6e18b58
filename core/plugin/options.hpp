// What a user chose for the options of a sampler, KV strategy or the like, checked against its
// specs.
#pragma once

#include <quiver/options.hpp>

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// Values of options, complete and within their ranges. Immutable. [any-thread]
class PluginOptions final : public Options {
 public:
  /// All defaults. `subject` is whose options these are, for messages, e.g. "sampler 'top_p'".
  /// Throws Error(plugin) where the specs themselves make no sense. This holds for the other
  /// functions, too.
  PluginOptions(std::string subject, std::span<const OptionSpec> specs);

  /// From "name=value,name=value"; an empty text gives the defaults. Numbers are decimal, flags 0,
  /// 1, true, false, on, off, yes, no; a flag's name alone switches it on. A comma in a text value
  /// is written "\,". Throws Error(usage) naming the option and what it takes: unknown or repeated
  /// names, values of another kind, out of range, or not finite.
  static PluginOptions from_text(std::string subject, std::span<const OptionSpec> specs,
                                 std::string_view text);

  /// From a JSON object with values of the options' own kinds (flags may be 0 and 1); null gives
  /// the defaults. Throws as from_text() does.
  static PluginOptions from_json(std::string subject, std::span<const OptionSpec> specs,
                                 const nlohmann::json& values);

  double number(std::string_view name) const override;
  std::string_view text(std::string_view name) const override;

 private:
  struct Value {
    OptionKind kind;
    double minimum;
    double maximum;
    double number;
    std::string text;
    bool is_set;
  };

  Value& find_unset(std::string_view name);
  void set_number(std::string_view name, Value& value, double number);
  void set_text(std::string_view name, Value& value, std::string_view text);
  std::string describe_all() const;

  std::string subject_;
  std::map<std::string, Value, std::less<>> values_;
};

/// What an option takes, for people: "0 to 1, default 0.95", "true or false, default false",
/// "a text". [any-thread]
std::string describe_option(const OptionSpec& spec);

/// The user's choice in whichever form it came. A plain value.
class OptionInput {
 public:
  /// The defaults.
  OptionInput() = default;

  static OptionInput from_text(std::string text);
  static OptionInput from_json(const nlohmann::json& values);

  PluginOptions read(std::string subject, std::span<const OptionSpec> specs) const;

 private:
  std::string text_;
  bool is_json_ = false;
};

}  // namespace quiver
