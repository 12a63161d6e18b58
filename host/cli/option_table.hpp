// What a command is made of: parsing, help, man page and completions all come from these tables.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quiver::cli {

class Arguments;

/// What a shell offers for a value.
enum class Completes : std::uint8_t { nothing, file, folder };

/// One option. All texts live as long as the program; help texts have no final full stop.
struct OptionRow {
  std::string_view name;       ///< Without the dashes, e.g. "max-tokens".
  char short_name = 0;         ///< 0 = none.
  std::string_view value{};    ///< What stands for the value in help, e.g. "N"; empty: a flag.
  std::string_view choices{};  ///< The only values, separated by '|'; empty = any.
  std::string_view default_value{};  ///< Used where the option is not given; empty = none.
  std::string_view help{};
  bool is_repeatable = false;
  Completes completes = Completes::nothing;

  bool is_flag() const { return value.empty(); }
};

/// Options under one heading of the help.
struct OptionGroup {
  std::string_view title;
  std::span<const OptionRow> rows;
};

/// An argument without dashes. They are filled in order; only the last may be repeatable.
struct PositionalRow {
  std::string_view name;  ///< In capitals, as the help shows it.
  std::string_view help;
  bool is_required = true;
  bool is_repeatable = false;
  Completes completes = Completes::nothing;
};

struct Example {
  std::string_view line;  ///< Without the leading "quiver ".
  std::string_view meaning;
};

/// One command.
struct Command {
  std::string_view name;           ///< Words after the program's name, e.g. "plugins list".
  std::string_view summary;        ///< One line, no final full stop.
  std::string_view description{};  ///< Paragraphs separated by newlines; may be empty.
  std::span<const PositionalRow> positionals{};
  std::span<const OptionGroup> groups{};
  std::span<const Example> examples{};
  int (*run)(const Arguments& arguments) = nullptr;  ///< Returns the exit status; throws Error.
  bool is_hidden = false;                            ///< Left out of listings.
};

/// Options that every command takes.
std::span<const OptionRow> global_options();

/// Calls visit(row) for every option of a command, the global ones last.
template <class Visit>
void for_each_option(const Command& command, const Visit& visit) {
  for (const OptionGroup& group : command.groups) {
    for (const OptionRow& row : group.rows) visit(row);
  }
  for (const OptionRow& row : global_options()) visit(row);
}

}  // namespace quiver::cli
