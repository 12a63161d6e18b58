// From the words of a command line to a command and its arguments.
#pragma once

#include "host/cli/arguments.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// A command line taken apart as far as the command.
struct CommandLine {
  const Command* command = nullptr;  ///< nullptr: none was named.
  std::string group;  ///< First word of commands with two, where the second is missing.
  std::vector<std::string> words;  ///< All other words, options before the command included.
};

/// Finds the command. Throws Error(usage) for unknown ones, with the likeliest meant. [any-thread]
CommandLine find_command(std::span<const std::string> words);

/// Reads the words against the command's tables: nothing is abbreviated, nothing unknown passes, a
/// choice is one of its choices, and an option that is not repeatable comes once. "--" ends the
/// options. Throws Error(usage). [any-thread]
Arguments parse_arguments(const Command& command, std::span<const std::string> words);

/// Whether a word asks for `name` ("--json", "-h") before "--" ends the options. [any-thread]
bool asks_for(std::span<const std::string> words, std::string_view name);

/// The candidate nearest to `text` if it is near enough to be meant, else an empty text. Distances
/// count insertions, deletions, replacements and swaps of neighbours. [any-thread]
std::string nearest(std::string_view text, std::span<const std::string> candidates);

/// The choices of a row, one by one. [any-thread]
std::vector<std::string> split_choices(std::string_view choices);

}  // namespace quiver::cli
