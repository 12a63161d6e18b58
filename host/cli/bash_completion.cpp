// The completion script for bash.
#include "host/cli/commands.hpp"
#include "host/cli/completions.hpp"
#include "host/cli/parse.hpp"

#include <fmt/format.h>

#include <map>
#include <set>

namespace quiver::cli {
namespace {

std::string words_of_options(const Command& command) {
  std::string words;
  for_each_option(command, [&](const OptionRow& row) {
    if (!words.empty()) words += ' ';
    words += fmt::format("--{}", row.name);
  });
  return words;
}

/// What completes the value of an option, as a line of shell.
std::string completer(const OptionRow& row) {
  if (!row.choices.empty()) {
    return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$current\"))",
                       fmt::join(split_choices(row.choices), " "));
  }
  switch (row.completes) {
    case Completes::file:
      return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$current\")";
    case Completes::folder:
      return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$current\")";
    case Completes::nothing: break;
  }
  return "COMPREPLY=()";
}

/// Cases of options that take values; one name may mean different things in different commands.
std::string value_cases() {
  std::map<std::string, std::set<std::string>> patterns;  // completer -> "command:--option"
  for (const Command* command : commands()) {
    if (command->is_hidden) continue;
    for_each_option(*command, [&](const OptionRow& row) {
      if (row.is_flag()) return;
      auto& set = patterns[completer(row)];
      set.insert(fmt::format("'{}:--{}'", command->name, row.name));
      if (row.short_name != 0) set.insert(fmt::format("'{}:-{}'", command->name, row.short_name));
    });
  }
  std::string text;
  for (const auto& [action, set] : patterns) {
    text += fmt::format("    {})\n      {}\n      return;;\n", fmt::join(set, "|"), action);
  }
  return text;
}

}  // namespace

std::string bash_completion() {
  std::set<std::string> first_words;
  std::map<std::string, std::string> second_words;
  std::string option_cases;
  for (const Command* command : commands()) {
    if (command->is_hidden) continue;
    const std::string name(command->name);
    const std::size_t blank = name.find(' ');
    first_words.insert(name.substr(0, blank));
    if (blank != std::string::npos)
      second_words[name.substr(0, blank)] += name.substr(blank + 1) + " ";
    option_cases += fmt::format("      '{}') options='{}';;\n", name, words_of_options(*command));
  }
  std::string groups;
  for (const auto& [group, words] : second_words) {
    groups += fmt::format(
        "  if [[ $command == {} ]]; then\n"
        "    if ((COMP_CWORD == 2)); then\n"
        "      COMPREPLY=($(compgen -W '{}' -- \"$current\"))\n"
        "      return\n"
        "    fi\n"
        "    command=\"$command ${{COMP_WORDS[2]}}\"\n"
        "  fi\n",
        group, words);
  }
  return fmt::format(
      "# bash completion for quiver; made by 'quiver generate-docs bash'\n"
      "_quiver() {{\n"
      "  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}\n"
      "  local command=${{COMP_WORDS[1]}} options=''\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '{} --help --version' -- \"$current\"))\n"
      "    return\n"
      "  fi\n"
      "{}"
      "  case \"$command:$previous\" in\n"
      "{}"
      "  esac\n"
      "  if [[ $current == -* ]]; then\n"
      "    case \"$command\" in\n"
      "{}"
      "    esac\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
      "    return\n"
      "  fi\n"
      "  compopt -o filenames\n"
      "  mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
      "}}\n"
      "complete -F _quiver quiver\n",
      fmt::join(first_words, " "), groups, value_cases(), option_cases);
}

}  // namespace quiver::cli
