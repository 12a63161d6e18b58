// What the program says about itself: help, version, man page, completions.
#include "tests/cli/run_program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace quiver::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::vector<std::string> kCommands = {
    "generate",        "chat",          "info",        "import",       "quantize-tensor",
    "tokenize",        "detokenize",    "logits",      "perplexity",   "plugins list",
    "plugins inspect", "plugins check", "plugins new", "plugins lock", "plugins verify"};

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

TEST(Help, every_command_has_one_with_usage_and_its_options) {
  for (const std::string& command : kCommands) {
    std::vector<std::string> arguments = words(command);
    arguments.push_back("--help");
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.status, 0) << command << ": " << result.err;
    EXPECT_THAT(result.out, HasSubstr("Usage: quiver " + command)) << command;
    EXPECT_EQ(result.err, "") << command;
    for (const char* option :
         {"--json", "--quiet", "--threads N", "--plugin-path DIR", "--compute fast|exact",
          "--activations auto|8|16|32", "-h, --help"}) {
      EXPECT_THAT(result.out, HasSubstr(option)) << command;
    }
  }
}

TEST(Help, lines_fit_a_terminal) {
  for (const std::string& command : kCommands) {
    std::vector<std::string> arguments = words(command);
    arguments.push_back("-h");
    std::istringstream lines(run_program(arguments).out);
    for (std::string line; std::getline(lines, line);) {
      if (line == "Examples:") break;  // commands to copy are never broken
      EXPECT_LE(line.size(), 80U) << command << ": " << line;
    }
  }
}

TEST(Help, of_the_program_lists_every_command_but_hidden_ones) {
  const ProgramResult result = run_program({"--help"});
  EXPECT_EQ(result.status, 0);
  for (const std::string& command : kCommands) EXPECT_THAT(result.out, HasSubstr("\n  " + command));
  EXPECT_THAT(result.out, Not(HasSubstr("generate-docs")));
}

TEST(Help, of_a_group_lists_its_commands) {
  const ProgramResult result = run_program({"plugins", "--help"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, HasSubstr("plugins verify"));
  EXPECT_THAT(result.out, Not(HasSubstr("tokenize")));
}

TEST(Help, version_is_one_line_and_one_document) {
  EXPECT_THAT(run_program({"--version"}).out,
              testing::MatchesRegex("quiver [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_TRUE(run_program({"--version", "--json"}).json().contains("version"));
}

TEST(Documents, man_page_names_every_command_and_option) {
  const ProgramResult result = run_program({"generate-docs", "man"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, StartsWith(".TH QUIVER 1"));
  EXPECT_THAT(result.out, HasSubstr("max\\-tokens"));
  EXPECT_THAT(result.out, HasSubstr("EXIT STATUS"));
  for (const std::string& command : kCommands) {
    std::string escaped;
    for (const char c : command) escaped += c == '-' ? "\\-" : std::string(1, c);
    EXPECT_THAT(result.out, HasSubstr("quiver " + escaped)) << command;
  }
}

TEST(Documents, completions_name_every_command_and_the_values_of_choices) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const ProgramResult result = run_program({"generate-docs", shell});
    EXPECT_EQ(result.status, 0) << shell;
    EXPECT_THAT(result.out, HasSubstr("max-tokens")) << shell;
    EXPECT_THAT(result.out, HasSubstr("fast exact")) << shell;
    EXPECT_THAT(result.out, HasSubstr("quantize-tensor")) << shell;
    EXPECT_THAT(result.out, Not(HasSubstr("generate-docs bash|"))) << shell;
  }
}

TEST(Documents, an_unknown_one_is_wrong_usage) {
  EXPECT_EQ(run_program({"generate-docs", "csh"}).status, 2);
}

}  // namespace
}  // namespace quiver::test
