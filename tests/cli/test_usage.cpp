// Wrong usage: one line that says what to do, exit status 2, and the same as JSON.
#include "tests/cli/run_program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace quiver::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct WrongUsage {
  std::vector<std::string> arguments;
  std::string complaint;  ///< Part of the line.
};

const std::vector<WrongUsage> kWrongUsages = {
    {{}, "a command is missing"},
    {{"generat"}, "did you mean 'quiver generate'?"},
    {{"plugins"}, "a command is missing"},
    {{"plugins", "lst"}, "did you mean 'quiver plugins list'?"},
    {{"xyzzy"}, "there is no command 'xyzzy'"},
    {{"info", "--contxt", "5", "x"}, "did you mean '--context'?"},
    {{"info", "--conte", "5", "x"}, "there is no option '--conte'"},
    {{"info"}, "there is nothing to tell about"},
    {{"info", "x", "--context"}, "needs a value"},
    {{"info", "x", "--context", "5", "--context", "6"}, "given twice"},
    {{"info", "x", "y"}, "an argument too many: 'y'"},
    {{"info", "--cpu=5"}, "takes no value"},
    {{"info", "--threads", "0", "--cpu", "x"}, "--threads"},
    {{"info", "--compute", "exat", "--cpu"}, "did you mean 'exact'?"},
    {{"info", "--activations", "4", "--cpu"}, "auto, 8, 16, 32"},
    {{"quantize-tensor", "x"}, "--output is missing"},
    {{"quantize-tensor"}, "IN is missing"},
    {{"generate", "x"}, "--prompt, --ids, --chat, --file"},
    {{"generate", "x", "--ids", "1", "--prompt", "a"}, "exclude each other"},
    {{"generate", "x", "--ids", "1", "--max-tokens", "many"}, "'many' is not a whole number"},
    {{"generate", "x", "--ids", "1", "--temp", "-1"}, "--temp"},
    {{"generate", "x", "--ids", "1", "--temp", "nan"}, "'nan' is not a number"},
    {{"generate", "x", "--ids", "1,b"}, "'b' is not a token id"},
    {{"generate", "x", "--ids", "-4"}, "'-4' is not a token id"},
    {{"generate", "x", "--ids", ","}, "there are no token ids"},
    {{"generate", "x", "--ids", "1", "--drafter", "d"}, "there is no option '--drafter'"},
    {{"generate", "x", "--ids", "1", "--decode", "guess"}, "auto, ar"},
    {{"logits", "x"}, "--ids, --prompt"},
    {{"logits", "x", "--ids", "1", "--chunk", "0"}, "--chunk"},
    {{"perplexity", "x"}, "FILE is missing"},
    {{"plugins", "list", "--kind", "samplr"}, "did you mean 'sampler'?"},
};

TEST(Usage, mistakes_are_one_line_with_exit_status_two) {
  for (const WrongUsage& wrong : kWrongUsages) {
    const ProgramResult result = run_program(wrong.arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_EQ(result.out, "") << result.err;
    EXPECT_THAT(result.err, StartsWith("quiver: "));
    EXPECT_THAT(result.err, HasSubstr(wrong.complaint));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
}

TEST(Usage, json_gets_the_same_error_as_a_document) {
  for (const WrongUsage& wrong : kWrongUsages) {
    std::vector<std::string> arguments = wrong.arguments;
    arguments.push_back("--json");
    // A word that would swallow --json as its value shows the same mistake without it.
    if (arguments.size() > 1 && wrong.complaint == "needs a value") continue;
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    const auto error = result.json().at("error");
    EXPECT_EQ(error.at("code"), 2);
    EXPECT_FALSE(error.at("message").get<std::string>().empty());
    EXPECT_TRUE(error.contains("hint"));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
}

TEST(Usage, global_options_may_stand_before_the_command) {
  const ProgramResult result = run_program({"--threads", "1", "--json", "info", "--cpu"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(result.json().at("cpu").contains("kernels"));
}

TEST(Usage, a_double_dash_ends_the_options) {
  const ProgramResult result = run_program({"info", "--", "--json"});
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("--json"));
}

TEST(Usage, an_error_stays_one_line_whatever_a_name_holds) {
  const ProgramResult result = run_program({"info", "no\nsuch\x1b[31m model"});
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1);
  EXPECT_EQ(result.err.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace quiver::test
