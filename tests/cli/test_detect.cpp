// Detectors from the command line: what is found, what is refused.
#include "core/tensor/safetensors_set.hpp"
#include "tests/cli/run_program.hpp"
#include "tests/support/npz_image.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kDetector = shared_path("models/yolo26-shapes");
const std::string kPictures = shared_path("data/shapes");

TEST(Detect, bad_pictures_are_named_and_the_others_are_looked_at) {
  const TemporaryFolder folder;
  const std::string bad = folder.path() / "bad.jpg";
  std::ofstream(bad) << "no picture";
  const auto good = std::filesystem::directory_iterator(kPictures + "/images")->path();
  const ProgramResult result = run_program({"detect", kDetector, bad, good, "--json"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("bad.jpg"));
  const ProgramResult alone = run_program({"detect", kDetector, good, "--json"});
  ASSERT_EQ(alone.status, 0) << alone.err;
  EXPECT_FALSE(alone.json().at("images").at(0).at("detections").empty());
}

TEST(Detect, a_folder_with_numpys_weights_needs_no_config) {
  const TemporaryFolder folder;
  NpzImage archive;
  const SafetensorsSet stored = SafetensorsSet::open(kDetector);
  for (const TensorView* tensor : stored.tensors()) {
    archive.add(std::string(tensor->name), tensor->shape, tensor->data);
  }
  folder.write("model/weights.npz", std::string_view(archive.bytes()));
  const std::string bare = folder.path() / "model";
  const auto good = std::filesystem::directory_iterator(kPictures + "/images")->path();
  const auto boxes = [&](const std::string& model) {
    const ProgramResult result =
        run_program({"detect", model, good, "--json", "--picture-size", "160"});
    EXPECT_EQ(result.status, 0) << result.err;
    const nlohmann::json found = result.json().at("images").at(0).at("detections");
    std::vector<nlohmann::json> rows;
    for (const auto& row : found) rows.push_back({row.at("box"), row.at("score")});
    if (model == bare) {
      EXPECT_THAT(found.at(0).at("label").get<std::string>(), HasSubstr("class"));
    }
    return rows;
  };
  ASSERT_FALSE(boxes(kDetector).empty());
  EXPECT_EQ(boxes(bare), boxes(kDetector));
  const ProgramResult info = run_program({"info", bare, "--json"});
  EXPECT_EQ(info.status, 0) << info.err;
  const std::string out = folder.path() / "out";
  const ProgramResult converted = run_program(
      {"convert", bare, "--target-bpw", "8", "--sensitivity", "weight-error", "-o", out});
  ASSERT_EQ(converted.status, 0) << converted.err;
  EXPECT_FALSE(boxes(out).empty());

  NpzImage other;
  other.add("something", stored.tensors()[0]->shape, stored.tensors()[0]->data);
  folder.write("model/weights.npz", std::string_view(other.bytes()));
  const ProgramResult unknown = run_program({"detect", bare, good});
  EXPECT_EQ(unknown.status, 3);
  EXPECT_THAT(unknown.err, HasSubstr("there is no config.json"));
}

TEST(Detect, a_converted_detector_finds_what_it_found) {
  const TemporaryFolder folder;
  const std::string out = folder.path() / "out";
  const ProgramResult converted = run_program(
      {"convert", kDetector, "--target-bpw", "8", "--sensitivity", "weight-error", "-o", out});
  ASSERT_EQ(converted.status, 0) << converted.err;
  EXPECT_THAT(converted.out, testing::Not(HasSubstr("token")));
  // What is surely there, picture by picture: found before, and found after.
  const auto sure = [&](const std::string& model) {
    const ProgramResult result =
        run_program({"detect", model, kPictures + "/images", "--score", "0.6", "--json"});
    EXPECT_EQ(result.status, 0) << result.err;
    std::vector<std::multiset<std::string>> labels;
    const auto json = result.json();
    for (const auto& image : json.at("images")) {
      std::multiset<std::string>& own = labels.emplace_back();
      for (const auto& found : image.at("detections")) own.insert(found.at("label"));
    }
    return labels;
  };
  const auto before = sure(kDetector);
  ASSERT_EQ(before.size(), 24U);
  EXPECT_EQ(sure(out), before);
}

}  // namespace
}  // namespace quiver::test
