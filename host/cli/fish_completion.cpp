// The completion script for fish.
#include "host/cli/commands.hpp"
#include "host/cli/completions.hpp"
#include "host/cli/parse.hpp"

#include <fmt/format.h>

#include <set>

namespace quiver::cli {
namespace {

/// Text inside single quotes.
std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

/// When a command's options are offered: all of its words have been typed.
std::string condition(std::string_view name) {
  const std::size_t blank = name.find(' ');
  std::string text = fmt::format("__fish_seen_subcommand_from {}", name.substr(0, blank));
  if (blank != std::string_view::npos) {
    text += fmt::format("; and __fish_seen_subcommand_from {}", name.substr(blank + 1));
  }
  return text;
}

std::string option_line(const Command& command, const OptionRow& row) {
  std::string line =
      fmt::format("complete -c quiver -n '{}' -l {}", condition(command.name), row.name);
  if (row.short_name != 0) line += fmt::format(" -s {}", row.short_name);
  if (!row.choices.empty()) {
    line += fmt::format(" -x -a '{}'", fmt::join(split_choices(row.choices), " "));
  } else if (row.completes == Completes::folder) {
    line += " -x -a '(__fish_complete_directories)'";
  } else if (row.completes == Completes::file) {
    line += " -r -F";
  } else if (!row.is_flag()) {
    line += " -x";
  }
  return line + fmt::format(" -d '{}'\n", escape(row.help));
}

}  // namespace

std::string fish_completion() {
  std::string text = "# fish completion for quiver; made by 'quiver generate-docs fish'\n";
  std::set<std::string> groups;
  for (const Command* command : commands()) {
    if (command->is_hidden) continue;
    const std::string name(command->name);
    const std::size_t blank = name.find(' ');
    const std::string group = name.substr(0, blank);
    if (blank == std::string::npos) {
      text += fmt::format("complete -c quiver -f -n '__fish_use_subcommand' -a {} -d '{}'\n", name,
                          escape(command->summary));
    } else {
      if (groups.insert(group).second) {
        text += fmt::format("complete -c quiver -f -n '__fish_use_subcommand' -a {}\n", group);
      }
      text +=
          fmt::format("complete -c quiver -f -n '__fish_seen_subcommand_from {}' -a {} -d '{}'\n",
                      group, name.substr(blank + 1), escape(command->summary));
    }
    for_each_option(*command, [&](const OptionRow& row) { text += option_line(*command, row); });
  }
  return text;
}

}  // namespace quiver::cli
