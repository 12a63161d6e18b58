// quiver convert, interrupted and killed: what is kept, and that resuming gives the same bytes.
#include "tests/cli/convert_program.hpp"

#include <csignal>

namespace quiver::test {
namespace {

using testing::HasSubstr;

class ConvertResume : public ConvertProgram {
 protected:
  /// The same conversion without interruptions.
  std::filesystem::path whole(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = words(more);
    const auto folder = folder_.path() / "whole";
    *std::ranges::find(arguments, out_) = folder.string();
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return folder;
  }
};

TEST_F(ConvertResume, ctrl_c_keeps_what_was_measured_and_says_how_to_go_on) {
  const auto expected = whole();
  const ProgramResult stopped = convert({"--json", "--quiet"}, signal_after(6, SIGINT));
  EXPECT_EQ(stopped.status, 130);
  EXPECT_EQ(std::ranges::count(stopped.err, '\n'), 1) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("--resume goes on"));
  EXPECT_EQ(stopped.json().at("error").at("code"), 130);
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_GE(measured_layers(), 5U);  // the first save holds none
  EXPECT_LT(measured_layers(), 23U);

  const ProgramResult refused = convert();
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("--resume"));
  const ProgramResult others = convert({"--resume", "--candidate-bits", "3,4,8"});
  EXPECT_EQ(others.status, 2);
  EXPECT_THAT(others.err, HasSubstr("other settings: widths"));

  const ProgramResult resumed = convert({"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, expected), testing::IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(checkpoint()));
}

TEST_F(ConvertResume, kills_at_any_moment_cost_one_layer_and_resuming_gives_the_same_bytes) {
  const auto expected = whole();
  // While the sweep runs, near its end, and while swaps are measured.
  std::size_t measured = 0;
  for (const int saves : {3, 9, 12}) {
    const ProgramResult killed = convert({"--resume"}, signal_after(saves, SIGKILL));
    ASSERT_EQ(killed.signal, SIGKILL) << killed.err;
    EXPECT_FALSE(std::filesystem::exists(out_));
    EXPECT_GT(measured_layers(), measured);
    measured = measured_layers();
  }
  const ProgramResult resumed = convert({"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, expected), testing::IsEmpty());
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("whole", "out"));
}

TEST_F(ConvertResume, what_a_killed_run_was_writing_is_cleared_away_by_the_next) {
  // The folder in the making appears twice: to try the place out, and to be filled.
  ProgramInput input;
  input.watched_folder = folder_.path();
  input.file_signal = SIGKILL;
  input.signal_on_file = [seen = 0](const std::string& name) mutable {
    return name.starts_with("out.") && name.ends_with(".tmp") &&
           name.find("sweep") == std::string::npos && ++seen == 2;
  };
  const ProgramResult killed = convert({}, input);
  ASSERT_EQ(killed.signal, SIGKILL) << killed.err;
  EXPECT_EQ(folder_.list().size(), 2U);  // the folder and the checkpoint
  // A checkpoint that was being written, by a process that cannot exist.
  folder_.write("out.sweep.json.999999999-3.tmp", std::string_view("{"));
  folder_.write("out.mine.tmp", std::string_view("no number of a process"));
  const ProgramResult resumed = convert({"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("out", "out.mine.tmp"));
  EXPECT_THAT(differing_files(out_, whole()), testing::IsEmpty());
}

TEST_F(ConvertResume, resuming_what_was_never_begun_begins) {
  EXPECT_EQ(convert({"--resume"}).status, 0);
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"out"});
}

TEST_F(ConvertResume, an_interruption_before_the_first_layer_leaves_nothing) {
  const ProgramResult stopped = convert({}, signal_after(1, SIGINT));
  EXPECT_EQ(stopped.status, 130);
  const auto left = folder_.list();
  EXPECT_TRUE(left.empty() || measured_layers() > 0);
}

TEST_F(ConvertResume, a_damaged_checkpoint_is_told) {
  folder_.write("out.sweep.json", std::string_view(R"({"format": "quiver-sweep-1"})"));
  const ProgramResult result = convert({"--resume"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("damaged"));
  EXPECT_EQ(convert({"--force"}).status, 0);
}

}  // namespace
}  // namespace quiver::test
