// The completion script for zsh.
#include "host/cli/commands.hpp"
#include "host/cli/completions.hpp"
#include "host/cli/parse.hpp"

#include <fmt/format.h>

#include <map>

namespace quiver::cli {
namespace {

/// Text inside single quotes and the brackets of _arguments.
std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
      continue;
    }
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string action(const OptionRow& row) {
  if (!row.choices.empty()) return fmt::format("({})", fmt::join(split_choices(row.choices), " "));
  switch (row.completes) {
    case Completes::file: return "_files";
    case Completes::folder: return "_files -/";
    case Completes::nothing: break;
  }
  return " ";
}

std::string option_spec(const OptionRow& row) {
  const std::string value =
      row.is_flag() ? "" : fmt::format(":{}:{}", escape(row.value), action(row));
  const std::string repeat = row.is_repeatable ? "*" : "";
  std::string specs =
      fmt::format("        '{}--{}[{}]{}' \\\n", repeat, row.name, escape(row.help), value);
  if (row.short_name != 0) {
    specs +=
        fmt::format("        '{}-{}[{}]{}' \\\n", repeat, row.short_name, escape(row.help), value);
  }
  return specs;
}

std::string arguments_call(const Command& command) {
  std::string text = "      _arguments \\\n";
  for_each_option(command, [&](const OptionRow& row) { text += option_spec(row); });
  return text + "        '*:argument:_files'\n";
}

}  // namespace

std::string zsh_completion() {
  std::string first;
  std::map<std::string, std::string> groups;
  std::string cases;
  for (const Command* command : commands()) {
    if (command->is_hidden) continue;
    const std::string name(command->name);
    const std::size_t blank = name.find(' ');
    const std::string group = name.substr(0, blank);
    if (blank == std::string::npos) {
      first += fmt::format("      '{}:{}'\n", name, escape(command->summary));
    } else {
      if (!groups.contains(group)) first += fmt::format("      '{}:more commands'\n", group);
      groups[group] +=
          fmt::format("        '{}:{}'\n", name.substr(blank + 1), escape(command->summary));
    }
    cases += fmt::format("    '{}')\n{}      ;;\n", name, arguments_call(*command));
  }
  std::string second;
  for (const auto& [group, entries] : groups) {
    second += fmt::format(
        "  if [[ $command == {} ]]; then\n"
        "    if ((CURRENT == 3)); then\n"
        "      local -a subcommands=(\n{}      )\n"
        "      _describe 'command' subcommands\n"
        "      return\n"
        "    fi\n"
        "    command=\"$command $words[3]\"\n"
        "    depth=2\n"
        "  fi\n",
        group, entries);
  }
  return fmt::format(
      "#compdef quiver\n"
      "# zsh completion for quiver; made by 'quiver generate-docs zsh'\n"
      "_quiver() {{\n"
      "  local command=$words[2] depth=1\n"
      "  if ((CURRENT == 2)); then\n"
      "    local -a all=(\n{}    )\n"
      "    _describe 'command' all\n"
      "    return\n"
      "  fi\n"
      "{}"
      "  words=(\"$words[1]\" \"${{(@)words[depth+2,-1]}}\")\n"
      "  ((CURRENT -= depth))\n"
      "  case \"$command\" in\n"
      "{}"
      "  esac\n"
      "}}\n"
      "_quiver \"$@\"\n",
      first, second, cases);
}

}  // namespace quiver::cli
