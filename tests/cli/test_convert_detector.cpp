// quiver convert on a detector: interrupted, resumed, reported, and what it refuses.
#include "tests/cli/convert_program.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <limits>

namespace quiver::test {
namespace {

using testing::HasSubstr;

class ConvertDetector : public ConvertProgram {
 protected:
  std::string detector_ = shared_path("models/yolo26-shapes");

  ProgramResult run(const std::vector<std::string>& more = {},
                    const ProgramInput& input = {}) const {
    return run_program(detector_words(detector_, out_, more), input);
  }

  /// The same conversion without interruptions.
  std::filesystem::path whole() const {
    const auto folder = folder_.path() / "whole";
    const ProgramResult result = run_program(detector_words(detector_, folder.string()));
    EXPECT_EQ(result.status, 0) << result.err;
    return folder;
  }

  /// A refusal is one line, with the same words in the document, and leaves nothing.
  void expect_refusal(const std::vector<std::string>& more, int status, const std::string& message,
                      const ProgramInput& input = {}) const {
    std::vector<std::string> arguments = more;
    arguments.insert(arguments.end(), {"--json", "--quiet"});
    const auto before = folder_.list();
    const ProgramResult result = run(arguments, input);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(result.json().at("error").at("code"), status);
    EXPECT_EQ(folder_.list(), before) << "something was left behind";
  }

  /// Makes the detector a copy in which the fifth value of a tensor is `value`.
  void spoil(const std::string& tensor, float value) {
    const std::filesystem::path source = shared_path("models/yolo26-shapes");
    std::string bytes = read_text(source / "yolo26-shapes.safetensors");
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof(header));
    const auto json = nlohmann::json::parse(bytes.substr(8, header));
    const std::size_t at = 8 + header + json.at(tensor).at("data_offsets")[0].get<std::size_t>();
    std::memcpy(bytes.data() + at + 4 * sizeof(value), &value, sizeof(value));
    const std::string folder = "spoiled-" + tensor;
    folder_.write(folder + "/yolo26-shapes.safetensors", std::string_view(bytes));
    folder_.write(folder + "/config.json", std::string_view(read_text(source / "config.json")));
    detector_ = folder_.path() / folder;
  }
};

TEST_F(ConvertDetector, ctrl_c_keeps_what_was_measured_and_resuming_gives_the_same_bytes) {
  const auto expected = whole();
  const ProgramResult stopped = run({"--json", "--quiet"}, signal_after(6, SIGINT));
  EXPECT_EQ(stopped.status, 130);
  EXPECT_EQ(std::ranges::count(stopped.err, '\n'), 1) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("--resume goes on"));
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_GE(measured_layers(), 5U);  // the first save holds none
  EXPECT_LT(measured_layers(), kDetectorKernels);

  const ProgramResult refused = run();
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("--resume"));
  EXPECT_THAT(run({"--resume", "--candidate-bits", "3,4,8"}).err,
              HasSubstr("other settings: widths"));
  EXPECT_THAT(run({"--resume", "--samples", "1"}).err, HasSubstr("other settings: pictures"));

  const ProgramResult resumed = run({"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, expected), testing::IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(checkpoint()));
}

TEST_F(ConvertDetector, kills_at_any_moment_cost_one_kernel_and_resuming_gives_the_same_bytes) {
  const auto expected = whole();
  std::size_t measured = 0;
  for (const int saves : {2, 9, 30}) {
    const ProgramResult killed = run({"--resume"}, signal_after(saves, SIGKILL));
    ASSERT_EQ(killed.signal, SIGKILL) << killed.err;
    EXPECT_FALSE(std::filesystem::exists(out_));
    EXPECT_GT(measured_layers(), measured);
    measured = measured_layers();
  }
  const ProgramResult resumed = run({"--resume"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(differing_files(out_, expected), testing::IsEmpty());
  EXPECT_THAT(folder_.list(), testing::UnorderedElementsAre("whole", "out"));
}

TEST_F(ConvertDetector, report_compares_with_uniform_widths_and_speaks_of_no_tokens) {
  const ProgramResult result = run({"--report", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto json = result.json();
  ASSERT_EQ(json.at("uniform").size(), 2U);
  EXPECT_GT(json.at("uniform").at(0).at("kl"), json.at("uniform").at(1).at("kl"));
  EXPECT_LT(json.at("uniform").at(0).at("bytes"), json.at("bytes"));
  EXPECT_LT(json.at("kl_measured"), json.at("uniform").at(0).at("kl"));
  const std::string page = read_text(out_ + "/report.html");
  EXPECT_THAT(page, HasSubstr("model.23.one2one_cv3.1.0.1.conv"));
  EXPECT_THAT(page, HasSubstr(R"("kl_unit":"")"));
  EXPECT_EQ(measured_in(json), kDetectorKernels);
}

TEST_F(ConvertDetector, weights_that_are_no_numbers_are_named) {
  const std::string kernel = "model.2.cv1.conv.weight";
  spoil(kernel, std::numeric_limits<float>::quiet_NaN());
  expect_refusal({}, 3, kernel);
  spoil(kernel, std::numeric_limits<float>::infinity());
  expect_refusal({"--sensitivity", "weight-error"}, 3, kernel);
  spoil("model.2.cv1.bn.running_var", -1);
  expect_refusal({}, 3, "model.2.cv1.bn");
}

TEST_F(ConvertDetector, what_cannot_be_met_is_told_before_anything_is_measured) {
  // The first kernel would save the checkpoint for the second time.
  expect_refusal({"--target-bpw", "3"}, 2, "target", signal_after(2, SIGKILL));
  expect_refusal({"--pin", "nothing*=4"}, 2, "nothing*", signal_after(2, SIGKILL));
  expect_refusal({"--candidate-bits", "16"}, 2, "nothing to quantize");
  expect_refusal({"--group-size", "48"}, 2, "in groups of 48");
  expect_refusal({"--positions", "4"}, 2, "--positions does nothing for a detector");
  const auto empty = folder_.path() / "empty";
  std::filesystem::create_directory(empty);
  expect_refusal({"--calibration", empty.string()}, 3, "empty");
  expect_refusal({"--calibration", (folder_.path() / "nowhere").string()}, 3, "nowhere");
}

TEST_F(ConvertDetector, places_that_cannot_be_written_are_told_at_once) {
  folder_.write("file", std::string_view("a file"));
  const std::string good = out_;
  out_ = folder_.path() / "file" / "out";
  expect_refusal({}, 3, "file/out");
  out_ = "/proc/quiver-out";
  expect_refusal({}, 3, "/proc/quiver-out");
  folder_.write("out/config.json", std::string_view("{}"));
  out_ = good;
  expect_refusal({}, 2, "--force");
  EXPECT_EQ(read_text(out_ + "/config.json"), "{}");
}

TEST_F(ConvertDetector, a_full_disk_leaves_the_checkpoint_alone) {
  ProgramInput input;
  input.file_size_limit = 100'000;  // the weights take several times as much
  const ProgramResult result = run({"--json", "--quiet"}, input);
  EXPECT_EQ(result.status, 5);
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("weights.safetensors"));
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"out.sweep.json"});
  EXPECT_EQ(measured_layers(), kDetectorKernels);
  EXPECT_EQ(run({"--resume"}).status, 0);
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"out"});
}

}  // namespace
}  // namespace quiver::test
