// quiver convert in several processes: the bytes of one, and clean ends whoever fails.
#include "tests/cli/convert_program.hpp"

#include <csignal>
#include <cstdlib>
#include <fstream>

namespace quiver::test {
namespace {

using testing::HasSubstr;

/// The process of a rank of the job that converts to `out`, found by its environment.
pid_t process_of_rank(const std::string& rank, const std::string& out) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = read_text(entry.path() / "cmdline");
    if (!words.starts_with(QUIVER_PROGRAM) || words.find(out) == std::string::npos) continue;
    if (read_text(entry.path() / "environ").find("OMPI_COMM_WORLD_RANK=" + rank) !=
        std::string::npos) {
      return std::atoi(name.c_str());
    }
  }
  return 0;
}

class ConvertRanks : public ConvertProgram {
 protected:
  /// `mpirun -n 2 quiver WORDS..`.
  static ProgramResult run_ranks(const std::vector<std::string>& words, ProgramInput input = {}) {
    std::vector<std::string> arguments = {"--oversubscribe", "-n", "2", QUIVER_PROGRAM};
    arguments.insert(arguments.end(), words.begin(), words.end());
    input.program = QUIVER_MPIEXEC;
    input.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                         {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                         {"OMP_NUM_THREADS", "1"},
                         // Open MPI keeps some memory at its end, and has unloaded the modules that
                         // a list of exceptions would name.
                         {"ASAN_OPTIONS", "detect_leaks=0"}};
    return run_program(arguments, input);
  }

  ProgramResult convert_in_ranks(const std::vector<std::string>& more = {},
                                 const ProgramInput& input = {}) const {
    return run_ranks(words(more), input);
  }

  /// The same conversion in one process.
  std::filesystem::path alone(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = words(more);
    const auto folder = folder_.path() / "alone";
    *std::ranges::find(arguments, out_) = folder.string();
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return folder;
  }

  /// An input whose run loses rank 1 in the middle of the sweep: it is stopped at the save
  /// `stop_at` of the checkpoint, and gets the signal when rank 0 has saved `more` results of its
  /// own. The first save of a run that resumes nothing comes before any result.
  ProgramInput ending_rank_1(int signal, int stop_at = 1, int more = 3) const {
    ProgramInput input = signal_after(1, 0);
    input.signal_on_file = [out = out_, signal, stop_at, more,
                            saves = 0](const std::string& name) mutable {
      if (!name.ends_with(".sweep.json")) return false;
      ++saves;
      const bool stops = saves == stop_at;
      const bool ends = saves == stop_at + more;
      const pid_t process = stops || ends ? process_of_rank("1", out) : 0;
      if (process == 0) return false;
      if (stops) ::kill(process, SIGSTOP);
      if (ends) {
        ::kill(process, signal);
        ::kill(process, SIGCONT);
      }
      return false;
    };
    return input;
  }

  static std::size_t lines_of_ours(const std::string& text) {
    std::size_t count = 0;
    for (std::size_t at = text.find("quiver: "); at != std::string::npos;
         at = text.find("quiver: ", at + 1)) {
      ++count;
    }
    return count;
  }
};

TEST_F(ConvertRanks, write_the_bytes_of_one_process_and_print_once) {
  const ProgramResult result = convert_in_ranks({"--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json().at("layers").size(), 23U);  // one document
  EXPECT_LE(lines_of_ours(result.err), 1U) << result.err;
  EXPECT_THAT(differing_files(out_, alone()), testing::IsEmpty());
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("out", "alone"));
}

TEST_F(ConvertRanks, go_on_after_ctrl_c_with_the_same_bytes) {
  // The launcher takes seconds to pass Ctrl-C on; measuring many swaps takes longer.
  const std::vector<std::string> settings = {"--candidate-bits",  "3,4,5,6,8", "--samples", "4",
                                             "--sequence-length", "96"};
  std::vector<std::string> slow = settings;
  slow.insert(slow.end(), {"--refine", "100"});
  const ProgramResult stopped = convert_in_ranks(slow, signal_after(6, SIGINT));
  EXPECT_NE(stopped.status, 0);
#if !defined(__SANITIZE_ADDRESS__)
  // The launcher gives ranks a second to end, which such a build beside other tests does not keep.
  EXPECT_THAT(stopped.err, HasSubstr("--resume goes on"));
#endif
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_GE(measured_layers(), 5U);
  std::vector<std::string> resume = settings;
  resume.emplace_back("--resume");
  const ProgramResult resumed = convert_in_ranks(resume);
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, alone(settings)), testing::IsEmpty());
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("out", "alone"));
}

TEST_F(ConvertRanks, leave_what_was_measured_when_one_of_them_is_killed) {
  for (const int signal : {SIGKILL, SIGTERM}) {  // the latter is how launchers end their jobs
    // From the start each time: until the launcher has noticed, rank 0 may measure most of its
    // share.
    std::filesystem::remove(checkpoint());
    const ProgramResult result = convert_in_ranks({}, ending_rank_1(signal));
    EXPECT_NE(result.status, 0);
    EXPECT_FALSE(std::filesystem::exists(out_));
    EXPECT_GT(measured_layers(), 0U);
    EXPECT_LT(measured_layers(), 23U);
  }
  const ProgramResult resumed = convert_in_ranks({"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, alone()), testing::IsEmpty());
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("out", "alone"));
}

TEST_F(ConvertRanks, resume_what_one_process_began_and_the_other_way_round) {
  EXPECT_EQ(convert({}, signal_after(4, SIGINT)).status, 130);
  // At the first result, since the rest may take no longer than this program to hear of it.
  EXPECT_NE(convert_in_ranks({"--resume"}, ending_rank_1(SIGKILL, 1, 0)).status, 0);
  EXPECT_EQ(convert({"--resume"}).status, 0);
  EXPECT_THAT(differing_files(out_, alone()), testing::IsEmpty());
}

TEST_F(ConvertRanks, unpack_a_gguf_file_once) {
  use_gguf();
  const ProgramResult result = convert_in_ranks({"--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(differing_files(out_, alone()), testing::IsEmpty());
  EXPECT_THAT(folder_.list(),
              testing::UnorderedElementsAre("out", "alone", "model.gguf", "text.jsonl"));
}

TEST_F(ConvertRanks, share_the_sweep_of_a_detector_and_write_the_bytes_of_one_process) {
  const std::string detector = shared_path("models/yolo26-shapes");
  const std::string alone = folder_.path() / "alone";
  ASSERT_EQ(run_program(detector_words(detector, alone)).status, 0);
  const ProgramResult result = run_ranks(detector_words(detector, out_, {"--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(measured_in(result.json()), kDetectorKernels);  // one document
  EXPECT_THAT(differing_files(out_, alone), testing::IsEmpty());
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("out", "alone"));

  std::filesystem::remove_all(out_);
  // With so many kernels rank 0 waits until the other one has heard which are its own.
  const ProgramResult killed = run_ranks(detector_words(detector, out_), ending_rank_1(SIGKILL, 2));
  EXPECT_NE(killed.status, 0);
  EXPECT_THAT(killed.err, HasSubstr("signal 9")) << "the launcher tells of a rank that was killed";
  EXPECT_GT(measured_layers(), 0U);
  EXPECT_LT(measured_layers(), kDetectorKernels);
  const ProgramResult resumed = run_ranks(detector_words(detector, out_, {"--resume"}));
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, alone), testing::IsEmpty());
}

TEST_F(ConvertRanks, end_with_the_status_and_one_line_where_all_of_them_fail) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--group-size", "48"}, "in groups of 48"},
      {{"--target-bpw", "3"}, "at least 5."},
      {{"--candidate-bits", "4,7"}, "'7' is not a width"},
  };
  for (const auto& [options, message] : cases) {
    std::vector<std::string> more = options;
    more.insert(more.end(), {"--quiet", "--json"});
    const ProgramResult result = convert_in_ranks(more);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(lines_of_ours(result.err), 1U) << result.err;
    EXPECT_EQ(result.json().at("error").at("code"), 2);
    EXPECT_TRUE(folder_.list().empty());
  }
}

TEST_F(ConvertRanks, end_when_only_one_of_them_fails) {
  // Each rank reads its own model: that of rank 1 is not there.
  const std::string script =
      folder_
          .write(
              "start.sh",
              std::string_view(
                  "[ \"$OMPI_COMM_WORLD_RANK\" = 1 ] && cd / || cd \"$1\"; shift; exec \"$@\"\n"))
          .string();
  std::vector<std::string> arguments = words({"--quiet"});
  *std::ranges::find(arguments, source_) = "checkpoint";
  arguments.insert(arguments.begin(),
                   {script, std::filesystem::path(source_).parent_path(), QUIVER_PROGRAM});
  ProgramInput input;
  input.program = QUIVER_MPIEXEC;
  input.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  arguments.insert(arguments.begin(), {"--oversubscribe", "-n", "2", "/bin/sh"});
  const ProgramResult result = run_program(arguments, input);
  EXPECT_EQ(result.status, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no such file or folder (checkpoint)"));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

}  // namespace
}  // namespace quiver::test
