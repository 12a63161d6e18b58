// The program: finds the command, runs it, and turns failures into one line and an exit status.
#include "core/plugin/check.hpp"
#include "core/plugin/plugin_library.hpp"
#include "core/plugin/rehearsal.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/help_text.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/parse.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace quiver::cli {
namespace {

int print_and_finish(const std::string& text) {
  print(text);
  flush();
  return 0;
}

int run_without_command(const CommandLine& line, bool is_json) {
  if (asks_for(line.words, "--help") || asks_for(line.words, "-h")) {
    return print_and_finish(line.group.empty() ? program_help(help_width())
                                               : group_help(line.group, help_width()));
  }
  if (line.group.empty() && asks_for(line.words, "--version")) {
    if (!is_json) return print_and_finish(fmt::format("quiver {}\n", QUIVER_VERSION));
    print_json({{"version", QUIVER_VERSION}});
    flush();
    return 0;
  }
  const std::string prefix = line.group.empty() ? "" : line.group + " ";
  throw Error(ErrorCode::usage, "a command is missing", "command line",
              fmt::format("'quiver {}--help' lists them", prefix));
}

int run(const std::vector<std::string>& words, bool is_json) {
  const CommandLine line = find_command(words);
  if (line.command == nullptr) return run_without_command(line, is_json);
  if (asks_for(line.words, "--help") || asks_for(line.words, "-h")) {
    return print_and_finish(command_help(*line.command, help_width()));
  }
  const Arguments arguments = parse_arguments(*line.command, line.words);
  set_quiet(arguments.flag("quiet"));
  if (arguments.flag("quiet")) set_plugin_log_level(0);
  const int status = line.command->run(arguments);
  flush();
  return status;
}

}  // namespace
}  // namespace quiver::cli

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  if (quiver::is_plugin_check_call(argc, argv)) return quiver::plugin_check_child_main(argc, argv);
  bool is_json = false;
  try {
    const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
    is_json = quiver::cli::asks_for(words, "--json");
    quiver::cli::catch_interrupts();
    return quiver::cli::run(words, is_json);
  } catch (...) {
    return quiver::cli::report_current_exception(is_json);
  }
}
