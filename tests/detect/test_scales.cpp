// The five scales of the family at their true sizes, with weights that follow from their names.
#include "tests/detect/hashed_weights.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

const DetectReference& recorded() {
  static const DetectReference reference("scales");
  return reference;
}

const nlohmann::json& case_of(const std::string& scale) {
  for (const nlohmann::json& entry : recorded().expected.at("cases")) {
    if (entry.at("scale") == scale) return entry;
  }
  throw std::out_of_range(scale);
}

/// The largest magnitude.
double reach(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

class Scale : public testing::TestWithParam<const char*> {};

TEST_P(Scale, gives_the_recorded_outputs_and_statistics_of_every_layer) {
  const std::string scale = GetParam();
  const TemporaryFolder folder;
  write_hashed_detector(folder.path(),
                        R"({"model_type": "yolo26", "scale": ")" + scale + R"(", "nc": 80})");
  TestDetector test(load_detector(folder.path()));
  const nlohmann::json& layers = case_of(scale).at("layers");
  const StoredPicture picture(recorded().tensors, scale + ".input");
  const RawDetections raw =
      test.run.run(picture.view(), [&](int block, const ImagePass& pass, const Stream& stream) {
        const std::string name = std::to_string(block);
        if (!layers.contains(name)) return;
        const KeptMap map = pass.keep(stream.x);
        const nlohmann::json& want = layers.at(name);
        const std::vector<int> shape{map.size.height, map.size.width, map.channels};
        EXPECT_EQ(shape, want.at("shape_hwc").get<std::vector<int>>()) << name;
        double sum = 0;
        for (const float value : map.values) sum += value;
        const double mean = sum / static_cast<double>(map.values.size());
        EXPECT_NEAR(mean, want.at("mean"), 1e-3 * want.at("std").get<double>()) << name;
      });
  const auto boxes = floats(recorded().tensors, scale + ".one2one.boxes");
  const auto logits = floats(recorded().tensors, scale + ".one2one.scores");
  EXPECT_LE(largest_difference(raw.distances, boxes), 1e-3 * reach(boxes));
  EXPECT_LE(largest_difference(raw.logits, logits), 1e-3 * reach(logits));
  expect_same_rows(rows_of(best_detections(raw, 300)), floats(recorded().tensors, scale + ".rows"),
                   32e-3 * reach(boxes), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(OfTheFamily, Scale, testing::Values("n", "s", "m", "l", "x"),
                         [](const auto& scale) { return std::string(scale.param); });

TEST(Scales, follow_from_a_bare_config) {
  // Parameters of a whole checkpoint; the head for training, which is not taken, is left out here.
  for (const char* scale : {"n", "s", "m", "l", "x"}) {
    const TemporaryFolder folder;
    std::ofstream(folder.path() / "config.json")
        << R"({"model_type": "yolo26", "scale": ")" << scale << "\"}";
    const auto model = LoadedModel::describe(folder.path(), detector_architecture, affine_scheme);
    std::int64_t body = 0;
    std::int64_t head = 0;
    for (const Conv2dPart& conv : model->weights().images().convs()) {
      const std::int64_t parameters = conv.outputs * conv.columns + conv.side_parameters;
      (conv.block == 23 ? head : body) += parameters;
    }
    EXPECT_EQ(body + 2 * head, case_of(scale).at("parameters").get<std::int64_t>()) << scale;
  }
}

TEST(Scales, use_weights_as_the_reference_hashes_them) {
  const nlohmann::json& check = recorded().expected.at("hash_check").at("model.0.conv.weight");
  EXPECT_EQ(hashed("model.0.conv.weight", 4), check.get<std::vector<float>>());
}

}  // namespace
}  // namespace quiver::test
