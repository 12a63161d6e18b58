// Average precision against what COCO's own tool gives the same objects and predictions.
#include "core/detect/average_precision.hpp"

#include "tests/detect/detect_models.hpp"

namespace quiver::test {
namespace {

constexpr double kTolerance = 1e-6;

nlohmann::json read(const std::filesystem::path& file) {
  return parse_json(read_small_file(file, 16U << 20U), file.string());
}

nlohmann::json scores() {
  return read(QUIVER_SOURCE_DIR "/tests/detect/data/coco_scores.json");
}

/// Four numbers of a row as corners; `scale` of the file's unit is a pixel.
Box corners(const nlohmann::json& row, float scale) {
  return {row.at(0).get<float>() / scale, row.at(1).get<float>() / scale,
          row.at(2).get<float>() / scale, row.at(3).get<float>() / scale};
}

void expect_scores(const AveragePrecision& got, const nlohmann::json& want) {
  EXPECT_NEAR(got.at50, want.at("map50").get<double>(), kTolerance);
  EXPECT_NEAR(got.at75, want.at("map75").get<double>(), kTolerance);
  EXPECT_NEAR(got.at50_95, want.at("map50_95").get<double>(), kTolerance);
  ASSERT_EQ(got.class50.size(), want.at("ap50").size());
  for (std::size_t i = 0; i < got.class50.size(); ++i) {
    EXPECT_NEAR(got.class50[i], want.at("ap50")[i].get<double>(), kTolerance) << "class " << i;
  }
}

TEST(AveragePrecision, is_what_pycocotools_gives_random_sets) {
  const nlohmann::json all = scores();
  ASSERT_GE(all.at("sets").size(), 30U);
  for (std::size_t i = 0; i < all.at("sets").size(); ++i) {
    SCOPED_TRACE("set " + std::to_string(i));
    const nlohmann::json& set = all.at("sets")[i];
    std::vector<LabelledDetections> pictures;
    for (const nlohmann::json& entry : set.at("pictures")) {
      LabelledDetections& picture = pictures.emplace_back();
      for (const nlohmann::json& object : entry.at(0)) {
        picture.truth.push_back({corners(object, 4), object.at(4), object.at(5) == 1});
      }
      for (const nlohmann::json& row : entry.at(1)) {
        picture.found.push_back({corners(row, 4), row.at(4).get<float>() / 1000, row.at(5), 0});
      }
    }
    expect_scores(average_precision(pictures, set.at("classes")), set);
  }
}

TEST(AveragePrecision, is_what_pycocotools_gives_the_recorded_detections) {
  const nlohmann::json truth = read(shared("data/shapes/truth.json"));
  const nlohmann::json found = read(shared("data/shapes/detections.json"));
  std::vector<LabelledDetections> pictures;
  for (std::size_t i = 0; i < truth.at("images").size(); ++i) {
    LabelledDetections& picture = pictures.emplace_back();
    for (const nlohmann::json& object : truth.at("images")[i].at("objects")) {
      picture.truth.push_back({corners(object.at("xyxy"), 1), object.at("class"), false});
    }
    for (const nlohmann::json& row : found.at("images")[i].at("detections")) {
      picture.found.push_back({corners(row, 1), row.at(4), row.at(5), 0});
    }
  }
  expect_scores(average_precision(pictures, 3), scores().at("recorded"));
}

}  // namespace
}  // namespace quiver::test
