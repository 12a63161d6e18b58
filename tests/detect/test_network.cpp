// The network against what its reference implementation computed: layers, raw outputs, rows.
#include "tests/detect/detect_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

class NarrowNetwork : public testing::TestWithParam<const char*> {};

TEST_P(NarrowNetwork, gives_the_recorded_layers) {
  const DetectReference reference(GetParam());
  TestDetector test(load_detector(reference.folder / "checkpoint"));
  const StoredPicture picture(reference.tensors, "c0.input");
  int compared = 0;
  test.run.run(picture.view(), [&](int block, const ImagePass& pass, const Stream& stream) {
    const std::string name = "c0.layer" + std::to_string(block);
    if (reference.tensors.find(name) == nullptr) return;
    const auto want = floats(reference.tensors, name);
    EXPECT_LE(largest_difference(pass.keep(stream.x).values, want),
              reference.expected.at("tolerance").at("layers_abs"))
        << name;
    ++compared;
  });
  EXPECT_EQ(compared, 13);
}

TEST_P(NarrowNetwork, gives_the_recorded_outputs_and_rows) {
  const DetectReference reference(GetParam());
  TestDetector test(load_detector(reference.folder / "checkpoint"));
  const nlohmann::json& tolerance = reference.expected.at("tolerance");
  for (const nlohmann::json& entry : reference.expected.at("cases")) {
    const std::string name = entry.at("name");
    SCOPED_TRACE(name);
    const StoredPicture picture(reference.tensors, name + ".input");
    const RawDetections raw = test.run.run(picture.view());
    const auto boxes = floats(reference.tensors, name + ".one2one.boxes");
    const auto logits = floats(reference.tensors, name + ".one2one.scores");
    EXPECT_LE(largest_difference(raw.distances, boxes), tolerance.at("raw_abs"));
    EXPECT_LE(largest_difference(raw.logits, logits), tolerance.at("raw_abs"));
    const auto rows = rows_of(best_detections(raw, 300));
    const auto want = floats(reference.tensors, name + ".rows");
    EXPECT_EQ(rows.size(), want.size());
    expect_same_rows(rows, want, tolerance.at("rows_box_abs"), tolerance.at("rows_score_abs"));
  }
}

TEST_P(NarrowNetwork, gives_the_same_bits_on_any_number_of_threads) {
  const DetectReference reference(GetParam());
  const auto model = load_detector(reference.folder / "checkpoint");
  const StoredPicture picture(reference.tensors, "c1.input");
  TestDetector one(model, 1);
  TestDetector three(model, 3);
  const RawDetections want = one.run.run(picture.view());
  const RawDetections got = three.run.run(picture.view());
  EXPECT_EQ(got.logits, want.logits);
  EXPECT_EQ(got.distances, want.distances);
}

TEST_P(NarrowNetwork, goes_on_at_any_block_with_the_same_bits) {
  const DetectReference reference(GetParam());
  TestDetector test(load_detector(reference.folder / "checkpoint"));
  const StoredPicture picture(reference.tensors, "c0.input");
  const RawDetections want = test.run.run(picture.view());
  const int blocks = test.run.model().model().block_count();
  ASSERT_EQ(blocks, 24);
  KeptStream stream = test.run.start(picture.view());
  for (int block = 0; block < blocks; ++block) {
    const RawDetections got = test.run.resume(picture.view(), stream, block);
    EXPECT_EQ(got.logits, want.logits) << block;
    EXPECT_EQ(got.distances, want.distances) << block;
    stream = test.run.advance(picture.view(), stream, block);
  }
}

INSTANTIATE_TEST_SUITE_P(Scales, NarrowNetwork, testing::Values("n-narrow", "l-narrow"),
                         [](const auto& scale) { return std::string(scale.param).substr(0, 1); });

TEST(DetectorModel, refuses_pictures_whose_sides_do_not_fit) {
  TestDetector test(load_detector(shared("reference/yolo26/n-narrow/checkpoint")));
  const std::vector<float> values(33 * 32 * 3);
  EXPECT_THROW(test.run.run({values, 33, 32}), Error);
}

}  // namespace
}  // namespace quiver::test
