// What a user wrote on the command line, read against a command's tables.
#include "host/cli/arguments.hpp"

#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace quiver::cli {
namespace {

/// A row as messages and defaults need it.
struct Declared {
  std::string display;
  std::string_view default_value;
};

Declared declared(const Command& command, std::string_view name) {
  for (const PositionalRow& row : command.positionals) {
    if (row.name == name) return {std::string(name), {}};
  }
  const OptionRow* found = nullptr;
  for_each_option(command, [&](const OptionRow& row) {
    if (row.name == name) found = &row;
  });
  if (found == nullptr) {
    throw Error(ErrorCode::internal, fmt::format("'{}' has no option '{}'", command.name, name),
                "command table", "report this");
  }
  return {"--" + std::string(name), found->default_value};
}

Error bad_value(const std::string& display, const std::string& value, const std::string& wanted) {
  return Error(ErrorCode::usage, in_quotes(value) + " is not " + wanted, display,
               "see the command's --help");
}

/// The whole text as a number, or false.
template <class Number>
bool parse(std::string_view text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end;
}

}  // namespace

std::string display_name(const Command& command, std::string_view name) {
  return declared(command, name).display;
}

const std::vector<std::string>* Arguments::find(std::string_view name) const {
  const auto found = values_.find(name);
  if (found != values_.end()) return &found->second;
  declared(*command_, name);  // a name that no table knows is a bug
  return nullptr;
}

bool Arguments::has(std::string_view name) const {
  return find(name) != nullptr;
}

std::string Arguments::text(std::string_view name) const {
  const auto* values = find(name);
  return values != nullptr ? values->back() : std::string(declared(*command_, name).default_value);
}

std::vector<std::string> Arguments::texts(std::string_view name) const {
  const auto* values = find(name);
  return values != nullptr ? *values : std::vector<std::string>();
}

std::int64_t Arguments::integer(std::string_view name, std::int64_t minimum,
                                std::int64_t maximum) const {
  const std::string value = text(name);
  if (value.empty() && !has(name)) return minimum;
  std::int64_t number = 0;
  if (!parse(value, number) || number < minimum || number > maximum) {
    const bool is_open = maximum >= std::numeric_limits<int>::max();
    throw bad_value(display_name(*command_, name), value,
                    is_open ? fmt::format("a whole number of at least {}", minimum)
                            : fmt::format("a whole number from {} to {}", minimum, maximum));
  }
  return number;
}

double Arguments::number(std::string_view name, double minimum, double maximum) const {
  const std::string value = text(name);
  if (value.empty() && !has(name)) return minimum;
  double number = 0;
  if (!parse(value, number) || !std::isfinite(number) || number < minimum || number > maximum) {
    throw bad_value(display_name(*command_, name), value,
                    fmt::format("a number from {} to {}", minimum, maximum));
  }
  return number;
}

std::vector<std::int32_t> Arguments::ids(std::string_view name) const {
  std::vector<std::int32_t> ids;
  const std::string value = text(name);
  std::string_view rest = value;
  while (!rest.empty()) {
    const std::size_t end = rest.find_first_of(", \t\n");
    const std::string_view item = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (item.empty()) continue;
    std::int32_t id = 0;
    if (!parse(item, id) || id < 0) {
      throw bad_value(display_name(*command_, name), std::string(item), "a token id");
    }
    ids.push_back(id);
  }
  if (ids.empty()) {
    throw Error(ErrorCode::usage, "there are no token ids", display_name(*command_, name),
                "give whole numbers separated by commas");
  }
  return ids;
}

void Arguments::require_one_of(std::initializer_list<std::string_view> names,
                               bool may_be_none) const {
  std::string all;
  std::vector<std::string> given;
  for (const std::string_view name : names) {
    const std::string display = display_name(*command_, name);
    if (!all.empty()) all += ", ";
    all += display;
    if (has(name)) given.push_back(display);
  }
  if (given.size() > 1) {
    throw Error(ErrorCode::usage, fmt::format("{} and {} exclude each other", given[0], given[1]),
                std::string(command_->name), "give one of them");
  }
  if (given.empty() && !may_be_none) {
    throw Error(ErrorCode::usage, "one of these is needed: " + all, std::string(command_->name),
                "see the command's --help");
  }
}

}  // namespace quiver::cli
