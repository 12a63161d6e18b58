// The manual page.
#include "host/cli/man_page.hpp"

#include "host/cli/commands.hpp"
#include "host/cli/help_text.hpp"

#include <fmt/format.h>

#include <string_view>

namespace quiver::cli {
namespace {

/// Text as roff prints it: backslashes and dashes stand for themselves, and no line begins with a
/// control character.
std::string escape(std::string_view text) {
  std::string result;
  bool is_line_start = true;
  for (const char c : text) {
    if (is_line_start && (c == '.' || c == '\'')) result += "\\&";
    is_line_start = c == '\n';
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

std::string item(std::string_view term, std::string_view meaning) {
  return fmt::format(".TP\n\\fB{}\\fR\n{}.\n", escape(term), escape(meaning));
}

std::string options(std::span<const OptionRow> rows) {
  std::string text;
  for (const OptionRow& row : rows) text += item(option_syntax(row), option_help(row));
  return text;
}

std::string paragraphs(std::string_view description) {
  std::string text;
  while (!description.empty()) {
    const std::size_t end = description.find('\n');
    const std::string_view line = description.substr(0, end);
    text += line.empty() ? ".PP\n" : escape(line) + "\n.PP\n";
    description = end == std::string_view::npos ? std::string_view() : description.substr(end + 1);
  }
  return text;
}

std::string command_section(const Command& command) {
  std::string text =
      fmt::format(".SS \"{}\"\n{}.\n.PP\n", escape(usage_line(command)), escape(command.summary));
  text += paragraphs(command.description);
  for (const PositionalRow& row : command.positionals) text += item(row.name, row.help);
  for (const OptionGroup& group : command.groups) {
    text += fmt::format(".PP\n{}:\n", escape(group.title)) + options(group.rows);
  }
  for (const Example& example : command.examples) {
    text += fmt::format(".PP\n{}:\n.PP\n.RS 4\n.nf\n{}\n.fi\n.RE\n", escape(example.meaning),
                        escape("quiver " + std::string(example.line)));
  }
  return text;
}

constexpr std::string_view kExitStatus =
    ".SH \"EXIT STATUS\"\n"
    ".TP\n0\nDone.\n.TP\n2\nWrong usage.\n.TP\n3\nBad input: a file, a model or a request.\n"
    ".TP\n4\nA plugin was refused or is missing.\n.TP\n5\nOut of memory, disk space or the like.\n"
    ".TP\n70\nAn error of the program itself.\n.TP\n130\nInterrupted.\n";

constexpr std::string_view kEnvironment =
    ".SH ENVIRONMENT\n"
    ".TP\nQUIVER_PLUGIN_PATH\nFolders searched for plugins behind those of \\-\\-plugin\\-path, "
    "separated by colons.\n"
    ".TP\nQUIVER_ISA\nInstruction set of the kernels to use instead of the best one.\n"
    ".TP\nHF_HUB_CACHE, HF_HOME\nWhere models given as owner/name lie.\n"
    ".TP\nXDG_DATA_HOME, XDG_CACHE_HOME, XDG_CONFIG_HOME\nWhere the user's plugins, the verdicts "
    "on "
    "them and their lock file lie.\n";

}  // namespace

std::string man_page() {
  std::string text =
      fmt::format(".TH QUIVER 1 \"\" \"quiver {}\" \"User Commands\"\n", QUIVER_VERSION);
  text += fmt::format(".SH NAME\nquiver \\- {}\n", escape(kProgramSummary));
  text += ".SH SYNOPSIS\n.B quiver\n.I COMMAND\n[ARGUMENTS] [OPTIONS]\n";
  text += ".SH DESCRIPTION\n";
  text += paragraphs(
      "A small host that knows no model: every model family, sampler, quantization scheme and KV "
      "strategy is a plugin, a shared object found and loaded at run time.\n"
      "MODEL is a folder with config.json and safetensors files, or owner/name where that lies in "
      "the local Hugging Face cache.\n"
      "Errors are one line on stderr: what was wrong, where, and what to do.");
  text += ".SH \"OPTIONS OF EVERY COMMAND\"\n" + options(global_options());
  text += ".SH COMMANDS\n";
  for (const Command* command : commands()) {
    if (!command->is_hidden) text += command_section(*command);
  }
  text += kExitStatus;
  text += kEnvironment;
  return text;
}

}  // namespace quiver::cli
