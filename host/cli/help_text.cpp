// The texts of --help.
#include "host/cli/help_text.hpp"

#include "host/cli/commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace quiver::cli {
namespace {

/// A term and what it means, printed in two columns.
struct Entry {
  std::string term;
  std::string meaning;
};

std::vector<std::string> wrap(std::string_view text, int width) {
  std::vector<std::string> lines;
  std::string line;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    const bool is_break = end < text.size() && text[end] == '\n';
    text = end == text.size() ? std::string_view() : text.substr(end + 1);
    if (!line.empty() && line.size() + 1 + word.size() > static_cast<std::size_t>(width)) {
      lines.push_back(std::move(line));
      line.clear();
    }
    if (!line.empty() && !word.empty()) line += ' ';
    line += word;
    if (is_break) {
      lines.push_back(std::move(line));
      line.clear();
    }
  }
  if (!line.empty()) lines.push_back(std::move(line));
  return lines;
}

std::string paragraphs(std::string_view text, int width) {
  std::string result;
  for (const std::string& line : wrap(text, width)) result += line + "\n";
  return result;
}

/// Column in which meanings begin: behind the longest term, but not too far right.
std::size_t meaning_column(const std::vector<Entry>& entries) {
  constexpr std::size_t kFarthest = 28;
  std::size_t longest = 0;
  for (const Entry& entry : entries) longest = std::max(longest, entry.term.size());
  return std::min(longest + 4, kFarthest);
}

std::string two_columns(const std::vector<Entry>& entries, std::size_t column, int width) {
  std::string text;
  const int meaning_width = std::max(24, width - static_cast<int>(column));
  for (const Entry& entry : entries) {
    text += "  " + entry.term;
    std::size_t at = entry.term.size() + 2;
    if (at + 2 > column) {
      text += "\n";
      at = 0;
    }
    for (const std::string& line : wrap(entry.meaning, meaning_width)) {
      text += std::string(column - at, ' ') + line + "\n";
      at = 0;
    }
  }
  return text;
}

/// Options without a short name are indented so that all long names begin in one column.
std::string aligned_syntax(const OptionRow& row) {
  return row.short_name != 0 ? option_syntax(row) : "    " + option_syntax(row);
}

std::vector<Entry> option_entries(std::span<const OptionRow> rows) {
  std::vector<Entry> entries;
  for (const OptionRow& row : rows) entries.push_back({aligned_syntax(row), option_help(row)});
  return entries;
}

std::vector<Entry> command_entries(std::string_view group) {
  std::vector<Entry> entries;
  for (const Command* command : commands()) {
    if (command->is_hidden) continue;
    if (!group.empty() && !command->name.starts_with(group)) continue;
    entries.push_back({std::string(command->name), std::string(command->summary)});
  }
  return entries;
}

}  // namespace

std::string option_syntax(const OptionRow& row) {
  std::string text;
  if (row.short_name != 0) text += fmt::format("-{}, ", row.short_name);
  text += fmt::format("--{}", row.name);
  if (!row.is_flag()) text += fmt::format(" {}", row.choices.empty() ? row.value : row.choices);
  return text;
}

std::string option_help(const OptionRow& row) {
  std::string text(row.help);
  if (row.is_repeatable) text += "; may be repeated";
  if (!row.default_value.empty()) text += fmt::format(" [default: {}]", row.default_value);
  return text;
}

std::string usage_line(const Command& command) {
  std::string line = fmt::format("quiver {}", command.name);
  for (const PositionalRow& row : command.positionals) {
    const std::string name = fmt::format("{}{}", row.name, row.is_repeatable ? ".." : "");
    line += row.is_required ? " " + name : " [" + name + "]";
  }
  return line + " [OPTIONS]";
}

std::string command_help(const Command& command, int width) {
  std::string text = fmt::format("{}\n\nUsage: {}\n", command.summary, usage_line(command));
  if (!command.description.empty()) text += "\n" + paragraphs(command.description, width);
  std::vector<Entry> all = option_entries(global_options());
  std::vector<Entry> positionals;
  for (const PositionalRow& row : command.positionals) {
    positionals.push_back({std::string(row.name), std::string(row.help)});
  }
  for (const OptionGroup& group : command.groups) {
    const auto entries = option_entries(group.rows);
    all.insert(all.end(), entries.begin(), entries.end());
  }
  all.insert(all.end(), positionals.begin(), positionals.end());
  const std::size_t column = meaning_column(all);
  if (!positionals.empty()) text += "\nArguments:\n" + two_columns(positionals, column, width);
  for (const OptionGroup& group : command.groups) {
    text += fmt::format("\n{}:\n", group.title);
    text += two_columns(option_entries(group.rows), column, width);
  }
  text += "\nOptions of every command:\n";
  text += two_columns(option_entries(global_options()), column, width);
  if (!command.examples.empty()) {
    text += "\nExamples:\n";
    for (const Example& example : command.examples) {
      text += fmt::format("  # {}\n  quiver {}\n", example.meaning, example.line);
    }
  }
  return text;
}

std::string program_help(int width) {
  std::string text = fmt::format("quiver {}\n", kProgramSummary);
  text += "\nUsage: quiver COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n";
  const auto entries = command_entries("");
  text += two_columns(entries, meaning_column(entries), width);
  const auto options = option_entries(global_options());
  text += "\nOptions of every command:\n" + two_columns(options, meaning_column(options), width);
  text += two_columns({{"    --version", "Print the version"}}, meaning_column(options), width);
  text += "\n";
  text += paragraphs(
      "MODEL is a folder with config.json and safetensors files, or owner/name where that lies in "
      "the local Hugging Face cache.\n\nExit status: 0 done, 2 wrong usage, 3 bad input, 4 plugin "
      "refused or missing, 5 out of resources, 70 internal error, 130 interrupted.\n\n"
      "'quiver COMMAND --help' tells more about a command.",
      width);
  return text;
}

std::string group_help(std::string_view group, int width) {
  const auto entries = command_entries(fmt::format("{} ", group));
  std::string text =
      fmt::format("Usage: quiver {} COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n", group);
  text += two_columns(entries, meaning_column(entries), width);
  return text + fmt::format("\n'quiver {} COMMAND --help' tells more about a command.\n", group);
}

}  // namespace quiver::cli
