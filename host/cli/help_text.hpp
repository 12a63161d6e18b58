// The texts of --help.
#pragma once

#include "host/cli/option_table.hpp"

#include <string>
#include <string_view>

namespace quiver::cli {

inline constexpr std::string_view kProgramSummary =
    "runs, quantizes, serves and fine-tunes models on ordinary CPUs through plugins";

/// `quiver --help`: all commands, a line each. Lines have at most `width` columns. [any-thread]
std::string program_help(int width);

/// `quiver GROUP --help`: the commands that begin with that word. [any-thread]
std::string group_help(std::string_view group, int width);

/// `quiver COMMAND --help`. [any-thread]
std::string command_help(const Command& command, int width);

/// "quiver generate MODEL [OPTIONS]". [any-thread]
std::string usage_line(const Command& command);

/// "-o, --output FILE", without the short name's column where there is none. [any-thread]
std::string option_syntax(const OptionRow& row);

/// The help of a row with its choices' default and whether it repeats: one line. [any-thread]
std::string option_help(const OptionRow& row);

}  // namespace quiver::cli
