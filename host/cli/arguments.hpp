// What a user wrote on the command line, read against a command's tables.
#pragma once

#include "host/cli/option_table.hpp"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// The values of one call. Options are asked for by their names, positionals by theirs. Asking for
/// one that the command's tables lack throws Error(internal); a value that does not fit throws
/// Error(usage) naming the option. Immutable. [any-thread]
class Arguments {
 public:
  using Values = std::map<std::string, std::vector<std::string>, std::less<>>;

  Arguments(const Command& command, Values values)
      : command_(&command), values_(std::move(values)) {}

  const Command& command() const { return *command_; }

  /// Whether the user gave the option or positional.
  bool has(std::string_view name) const;

  /// Whether a flag was given.
  bool flag(std::string_view name) const { return has(name); }

  /// The value, else the default, else an empty text.
  std::string text(std::string_view name) const;

  /// All values of a repeatable one, in order; no defaults.
  std::vector<std::string> texts(std::string_view name) const;

  std::filesystem::path path(std::string_view name) const { return text(name); }

  /// A whole number in [minimum, maximum]. Without value and default: `minimum`.
  std::int64_t integer(std::string_view name, std::int64_t minimum,
                       std::int64_t maximum = std::numeric_limits<int>::max()) const;

  /// A finite number in [minimum, maximum]. Without value and default: `minimum`.
  double number(std::string_view name, double minimum, double maximum) const;

  /// Token ids separated by commas or blanks: whole numbers from 0 up.
  std::vector<std::int32_t> ids(std::string_view name) const;

  /// Throws Error(usage) unless exactly one of the options was given (at most one, where
  /// `may_be_none`).
  void require_one_of(std::initializer_list<std::string_view> names,
                      bool may_be_none = false) const;

 private:
  const std::vector<std::string>* find(std::string_view name) const;

  const Command* command_;
  Values values_;
};

/// How messages name an option or positional: "--max-tokens", "MODEL". [any-thread]
std::string display_name(const Command& command, std::string_view name);

}  // namespace quiver::cli
