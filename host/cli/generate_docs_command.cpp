// quiver generate-docs: the man page and completions, for the build.
#include "core/tensor/atomic_file.hpp"
#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/completions.hpp"
#include "host/cli/console.hpp"
#include "host/cli/man_page.hpp"

#include <quiver/error.hpp>

#include <span>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {{.name = "WHAT", .help = "man, bash, zsh or fish"}};
constexpr OptionRow kOptions[] = {{.name = "output",
                                   .short_name = 'o',
                                   .value = "FILE",
                                   .help = "Write to this file instead of stdout",
                                   .completes = Completes::file}};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};

int run(const Arguments& arguments) {
  const std::string what = arguments.text("WHAT");
  std::string text;
  if (what == "man") {
    text = man_page();
  } else if (what == "bash") {
    text = bash_completion();
  } else if (what == "zsh") {
    text = zsh_completion();
  } else if (what == "fish") {
    text = fish_completion();
  } else {
    throw Error(ErrorCode::usage, "there is no such document", what, "give man, bash, zsh or fish");
  }
  if (arguments.has("output")) {
    write_file(arguments.path("output"), std::as_bytes(std::span(text)));
  } else {
    print(text);
  }
  return 0;
}

constexpr Command kCommand = {.name = "generate-docs",
                              .summary = "Writes the man page or a shell's completions",
                              .positionals = kPositionals,
                              .groups = kGroups,
                              .run = run,
                              .is_hidden = true};

}  // namespace

const Command& generate_docs_command() {
  return kCommand;
}

}  // namespace quiver::cli
