// What a user chose for the options of a sampler, KV strategy or the like, checked against its
// specs.
#include "core/plugin/options.hpp"

#include "core/plugin/plugin_descriptor.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace quiver {
namespace {

Error bad_spec(const std::string& subject, const std::string& what) {
  return {ErrorCode::plugin,
          fmt::format("{} describes its options wrongly: {}", subject, what),
          {},
          "report it to the plugin's author"};
}

/// Integers reach plugins as int, so none beyond it can be asked for.
bool is_integer(double number) {
  return std::trunc(number) == number && std::abs(number) <= std::numeric_limits<int>::max();
}

void check_spec(const std::string& subject, const OptionSpec& spec) {
  if (spec.name == nullptr || *spec.name == '\0' || spec.summary == nullptr ||
      !is_printable_utf8(spec.name) || !is_printable_utf8(spec.summary)) {
    throw bad_spec(subject, "one has no name or no summary");
  }
  const std::string name = spec.name;
  switch (spec.kind) {
    case OptionKind::text:
      if (spec.default_text != nullptr && !is_printable_utf8(spec.default_text)) {
        throw bad_spec(subject, "the default of '" + name + "' is no text");
      }
      return;
    case OptionKind::flag:
      if (spec.default_value == 0 || spec.default_value == 1) return;
      throw bad_spec(subject, "the default of the flag '" + name + "' is neither 0 nor 1");
    case OptionKind::number:
    case OptionKind::integer: break;
    default: throw bad_spec(subject, "'" + name + "' is of an unknown kind");
  }
  if (!std::isfinite(spec.default_value) || std::isnan(spec.minimum) || std::isnan(spec.maximum) ||
      spec.default_value < spec.minimum || spec.default_value > spec.maximum) {
    throw bad_spec(subject, "the default of '" + name + "' is not in its range");
  }
  if (spec.kind == OptionKind::integer && !is_integer(spec.default_value)) {
    throw bad_spec(subject, "the default of '" + name + "' is no integer");
  }
}

std::string describe_range(OptionKind kind, double minimum, double maximum) {
  if (kind == OptionKind::text) return "a text";
  if (kind == OptionKind::flag) return "true or false";
  const char* const noun = kind == OptionKind::integer ? "an integer" : "a number";
  if (std::isinf(minimum) && std::isinf(maximum)) return noun;
  if (std::isinf(maximum)) return fmt::format("{} of at least {}", noun, minimum);
  if (std::isinf(minimum)) return fmt::format("{} of at most {}", noun, maximum);
  return fmt::format("{} from {} to {}", noun, minimum, maximum);
}

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<double> parse_flag(std::string_view text) {
  for (const std::string_view word : {"1", "true", "on", "yes", ""}) {
    if (text == word) return 1;
  }
  for (const std::string_view word : {"0", "false", "off", "no"}) {
    if (text == word) return 0;
  }
  return std::nullopt;
}

/// Takes the text up to the next comma that is not escaped, without the escapes.
std::string take_item(std::string_view& text) {
  std::string item;
  while (!text.empty()) {
    const bool is_escape = text.starts_with("\\,");
    if (is_escape) text.remove_prefix(1);
    const char c = text.front();
    text.remove_prefix(1);
    if (c == ',' && !is_escape) break;
    item += c;
  }
  return item;
}

}  // namespace

PluginOptions::PluginOptions(std::string subject, std::span<const OptionSpec> specs)
    : subject_(std::move(subject)) {
  for (const OptionSpec& spec : specs) {
    check_spec(subject_, spec);
    Value value{spec.kind, spec.minimum, spec.maximum, spec.default_value, {}, false};
    if (spec.kind == OptionKind::flag) {
      value.minimum = 0;
      value.maximum = 1;
    } else if (spec.kind == OptionKind::text && spec.default_text != nullptr) {
      value.text = spec.default_text;
    }
    if (!values_.emplace(spec.name, std::move(value)).second) {
      throw bad_spec(subject_, fmt::format("'{}' stands there twice", spec.name));
    }
  }
}

std::string PluginOptions::describe_all() const {
  if (values_.empty()) return "it takes no options";
  std::string text = "it takes ";
  for (const auto& [name, value] : values_) {
    if (text.back() != ' ') text += ", ";
    text += fmt::format("{} ({})", name, describe_range(value.kind, value.minimum, value.maximum));
  }
  return text;
}

PluginOptions::Value& PluginOptions::find_unset(std::string_view name) {
  const auto found = values_.find(name);
  if (found == values_.end()) {
    throw Error(ErrorCode::usage, fmt::format("there is no option '{}'", one_line(name, 80)),
                subject_, describe_all());
  }
  if (std::exchange(found->second.is_set, true)) {
    throw Error(ErrorCode::usage, fmt::format("the option '{}' is given twice", name), subject_,
                "give it once");
  }
  return found->second;
}

void PluginOptions::set_number(std::string_view name, Value& value, double number) {
  const bool is_wanted_kind = value.kind == OptionKind::number || is_integer(number);
  if (!std::isfinite(number) || !is_wanted_kind || number < value.minimum ||
      number > value.maximum) {
    throw Error(ErrorCode::usage, fmt::format("the option '{}' cannot be {}", name, number),
                subject_, "it takes " + describe_range(value.kind, value.minimum, value.maximum));
  }
  value.number = number;
}

void PluginOptions::set_text(std::string_view name, Value& value, std::string_view text) {
  if (!is_printable_utf8(text)) {
    throw Error(ErrorCode::usage,
                fmt::format("the option '{}' holds what is no printable text", name), subject_,
                "it takes a text");
  }
  value.text = text;
}

PluginOptions PluginOptions::from_text(std::string subject, std::span<const OptionSpec> specs,
                                       std::string_view text) {
  PluginOptions options(std::move(subject), specs);
  while (!text.empty()) {
    const std::string item = take_item(text);
    const std::size_t equals = item.find('=');
    const std::string_view name = std::string_view(item).substr(0, equals);
    Value& value = options.find_unset(name);
    const bool has_value = equals != std::string::npos;
    const std::string_view written =
        has_value ? std::string_view(item).substr(equals + 1) : std::string_view();
    if (!has_value && value.kind != OptionKind::flag) {
      throw Error(ErrorCode::usage, fmt::format("the option '{}' has no value", name),
                  options.subject_,
                  "it takes " + describe_range(value.kind, value.minimum, value.maximum));
    }
    if (value.kind == OptionKind::text) {
      options.set_text(name, value, written);
      continue;
    }
    const auto number =
        value.kind == OptionKind::flag ? parse_flag(written) : parse_number(written);
    if (!number || (has_value && written.empty())) {
      throw Error(ErrorCode::usage,
                  fmt::format("the option '{}' cannot be '{}'", name, one_line(written, 80)),
                  options.subject_,
                  "it takes " + describe_range(value.kind, value.minimum, value.maximum));
    }
    options.set_number(name, value, *number);
  }
  return options;
}

PluginOptions PluginOptions::from_json(std::string subject, std::span<const OptionSpec> specs,
                                       const nlohmann::json& values) {
  PluginOptions options(std::move(subject), specs);
  if (values.is_null()) return options;
  if (!values.is_object()) {
    throw Error(ErrorCode::usage, "options must be a JSON object", options.subject_,
                options.describe_all());
  }
  for (const auto& [name, given] : values.items()) {
    Value& value = options.find_unset(name);
    if (value.kind == OptionKind::text && given.is_string()) {
      options.set_text(name, value, given.get_ref<const std::string&>());
    } else if (value.kind == OptionKind::flag && given.is_boolean()) {
      value.number = given.get<bool>() ? 1 : 0;
    } else if (value.kind != OptionKind::text && given.is_number()) {
      options.set_number(name, value, given.get<double>());
    } else {
      throw Error(ErrorCode::usage,
                  fmt::format("the option '{}' cannot be a JSON {}", name, given.type_name()),
                  options.subject_,
                  "it takes " + describe_range(value.kind, value.minimum, value.maximum));
    }
  }
  return options;
}

double PluginOptions::number(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end() || found->second.kind == OptionKind::text) {
    throw Error(ErrorCode::internal, fmt::format("no numeric option '{}' is described", name),
                subject_, "report it to the plugin's author");
  }
  return found->second.number;
}

std::string_view PluginOptions::text(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end() || found->second.kind != OptionKind::text) {
    throw Error(ErrorCode::internal, fmt::format("no text option '{}' is described", name),
                subject_, "report it to the plugin's author");
  }
  return found->second.text;
}

std::string describe_option(const OptionSpec& spec) {
  const std::string range = describe_range(spec.kind, spec.minimum, spec.maximum);
  switch (spec.kind) {
    case OptionKind::text:
      return spec.default_text != nullptr && *spec.default_text != '\0'
                 ? fmt::format("{}, default {}", range, spec.default_text)
                 : range;
    case OptionKind::flag:
      return fmt::format("{}, default {}", range, spec.default_value != 0 ? "true" : "false");
    default: return fmt::format("{}, default {}", range, spec.default_value);
  }
}

OptionInput OptionInput::from_text(std::string text) {
  OptionInput input;
  input.text_ = std::move(text);
  return input;
}

OptionInput OptionInput::from_json(const nlohmann::json& values) {
  OptionInput input;
  input.text_ = values.dump();
  input.is_json_ = true;
  return input;
}

PluginOptions OptionInput::read(std::string subject, std::span<const OptionSpec> specs) const {
  return is_json_
             ? PluginOptions::from_json(std::move(subject), specs, nlohmann::json::parse(text_))
             : PluginOptions::from_text(std::move(subject), specs, text_);
}

}  // namespace quiver
