// quiver convert: what it refuses, with which status and words, and what it leaves behind then.
#include "tests/cli/convert_program.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <limits>

namespace quiver::test {
namespace {

using testing::HasSubstr;

class ConvertErrors : public ConvertProgram {
 protected:
  /// A refusal is one line, with the same words in the document, and leaves nothing.
  void expect_refusal(const std::vector<std::string>& more, int status, const std::string& message,
                      const ProgramInput& input = {}) const {
    std::vector<std::string> arguments = more;
    arguments.insert(arguments.end(), {"--json", "--quiet"});
    const auto before = folder_.list();
    const ProgramResult result = convert(arguments, input);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(result.json().at("error").at("code"), status);
    EXPECT_EQ(folder_.list(), before) << "something was left behind";
  }

  /// A copy of the source that can be spoiled.
  void copy_source() {
    const auto copy = folder_.path() / "source";
    std::filesystem::copy(source_, copy);
    for (const auto& entry : std::filesystem::directory_iterator(copy)) {
      std::filesystem::permissions(entry, std::filesystem::perms::owner_write,
                                   std::filesystem::perm_options::add);
    }
    source_ = copy.string();
  }
};

TEST_F(ConvertErrors, wrong_usage_is_told_and_leaves_nothing) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--candidate-bits", "4,7"}, "'7' is not a width"},
      {{"--candidate-bits", "4,4"}, "twice"},
      {{"--group-size", "48"}, "in groups of 48"},
      {{"--target-bpw", "3"}, "at least 5."},
      {{"--target-bpw", "6", "--floor-per-block", "7"}, "floor"},
      {{"--pin", "nothing*=4"}, "nothing*"},
      {{"--pin", "lm_head=5"}, "lm_head"},
      {{"--pin", "lm_head"}, "GLOB=BITS"},
      {{"--compat", "optiq", "--protect", "lm_head"}, "--protect"},
      {{"--encoder", "best"}, "--encoder"},
      {{"--sensitivity", "guess"}, "--sensitivity"},
      {{"--samples", "0"}, "--samples"},
      {{"--keep-unused-modalities", "--strip-unused-modalities"}, "both kept and left out"},
  };
  for (const auto& [arguments, message] : cases) expect_refusal(arguments, 2, message);
  const ProgramResult result = run_program({"convert", source_});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("--output is missing"));
}

TEST_F(ConvertErrors, a_target_out_of_reach_is_told_before_anything_is_measured) {
  // The sweep would save its first layer, and that would be seen here.
  ProgramInput input = signal_after(2, SIGKILL);
  expect_refusal({"--target-bpw", "5"}, 2, "target", input);
}

TEST_F(ConvertErrors, an_unknown_family_is_a_missing_plugin) {
  copy_source();
  folder_.write("source/config.json", std::string_view(R"({"model_type": "nonesuch"})"));
  expect_refusal({}, 4, "nonesuch");
}

TEST_F(ConvertErrors, models_that_are_not_there_are_bad_input) {
  source_ = folder_.path() / "nowhere";
  expect_refusal({}, 3, "nowhere");
}

TEST_F(ConvertErrors, calibration_shorter_than_a_sample_is_bad_input) {
  calibration_ = folder_.write("short.jsonl", R"({"domain": "prose", "text": "too short"})"
                                              "\n");
  expect_refusal({}, 3, "has 7 tokens");
}

TEST_F(ConvertErrors, calibration_that_is_no_json_is_named_by_line) {
  calibration_ = folder_.write("broken.jsonl", R"({"domain": "prose", "text": "a text"})"
                                               "\n"
                                               R"({"domain": )"
                                               "\n");
  expect_refusal({}, 3, "broken.jsonl:2");
  calibration_ = folder_.write("rows.jsonl", R"({"domain": "prose"})"
                                             "\n");
  expect_refusal({}, 3, "rows.jsonl:1");
  calibration_ = folder_.path() / "missing.jsonl";
  expect_refusal({}, 3, "missing.jsonl");
}

TEST_F(ConvertErrors, places_that_cannot_be_written_are_told_at_once) {
  folder_.write("file", std::string_view("a file"));
  out_ = folder_.path() / "file" / "out";
  expect_refusal({}, 3, "file/out");
  out_ = folder_.path() / "file";
  expect_refusal({"--force"}, 2, "not a folder");
  out_ = folder_.path() / "no" / "such" / "out";
  expect_refusal({}, 3, "no/such/out");
  out_ = "/proc/quiver-out";
  expect_refusal({}, 3, "/proc/quiver-out");
}

TEST_F(ConvertErrors, a_full_disk_leaves_the_checkpoint_alone_and_resuming_goes_on) {
  ProgramInput input;
  input.file_size_limit = 100'000;  // enough for the checkpoint, too little for the weights
  const ProgramResult result = convert({"--json", "--quiet"}, input);
  EXPECT_EQ(result.status, 5);
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model.safetensors"));
  EXPECT_EQ(result.json().at("error").at("code"), 5);
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"out.sweep.json"});
  EXPECT_EQ(measured_layers(), 23U);
  converted({"--resume"});
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"out"});
}

TEST_F(ConvertErrors, weights_that_are_no_numbers_are_named) {
  copy_source();
  const std::string file = source_ + "/model.safetensors";
  std::string bytes = read_text(file);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const auto json = nlohmann::json::parse(bytes.substr(8, header));
  const std::string layer = "model.layers.1.mlp.up_proj.weight";
  const std::size_t at = 8 + header + json.at(layer).at("data_offsets")[0].get<std::size_t>();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + at + 400, &nan, sizeof(nan));
  folder_.write("source/model.safetensors", std::string_view(bytes));
  expect_refusal({}, 3, layer);
}

}  // namespace
}  // namespace quiver::test
