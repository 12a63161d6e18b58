// The trained detector: its recorded detections and precision, in float and after conversion.
#include "core/detect/detect_picture.hpp"
#include "core/detect/labelled_pictures.hpp"
#include "core/image/read_picture.hpp"
#include "core/quantize/convert_detector.hpp"
#include "core/quantize/detection_divergence.hpp"
#include "tests/detect/detect_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

nlohmann::json read_json(const char* name) {
  return parse_json(read_small_file(shared(std::string("data/shapes/") + name), 16U << 20U), name);
}

const nlohmann::json& recorded() {
  static const nlohmann::json detections = read_json("detections.json");
  return detections;
}

std::shared_ptr<const LoadedModel> trained() {
  return load_detector(shared("models/yolo26-shapes"));
}

DetectOptions options_above(float score) {
  return {.side = 160, .score = score, .most = 300};
}

/// Truth and detections of all recorded pictures.
std::vector<LabelledDetections> look(const std::shared_ptr<const LoadedModel>& model,
                                     const ComputeOptions& compute = {ComputeMode::exact}) {
  ThreadPool threads(2);
  DetectorRun run(model, threads, compute);
  std::vector<LabelledDetections> results;
  const nlohmann::json truth = read_json("truth.json");
  for (const nlohmann::json& image : truth.at("images")) {
    const Picture picture =
        read_picture(shared("data/shapes/" + image.at("file").get<std::string>()));
    LabelledDetections result;
    result.found = detect_picture(run, picture, options_above(0.001F));
    for (const nlohmann::json& object : image.at("objects")) {
      const auto box = object.at("xyxy").get<std::vector<float>>();
      result.truth.push_back({{box[0], box[1], box[2], box[3]}, object.at("class"), false});
    }
    results.push_back(std::move(result));
  }
  return results;
}

TEST(TrainedDetector, finds_what_was_recorded) {
  TestDetector test(trained());
  for (const nlohmann::json& image : recorded().at("images")) {
    const Picture picture =
        read_picture(shared("data/shapes/" + image.at("file").get<std::string>()));
    const auto rows = rows_of(detect_picture(test.run, picture, options_above(0.25F)));
    std::vector<float> want;
    for (const nlohmann::json& row : image.at("detections")) {
      for (const float value : row.get<std::vector<float>>()) want.push_back(value);
    }
    EXPECT_EQ(rows.size(), want.size()) << image.at("file");
    expect_same_rows(rows, want, 0.01, 1e-4);
  }
}

TEST(TrainedDetector, has_the_recorded_precision) {
  const AveragePrecision score = average_precision(look(trained()), 3);
  EXPECT_NEAR(score.at50, recorded().at("mAP50"), 1e-4);
  EXPECT_NEAR(score.at75, recorded().at("mAP75"), 1e-4);
  EXPECT_NEAR(score.at50_95, recorded().at("mAP50_95"), 1e-4);
  EXPECT_EQ(score.objects, 85);
}

std::vector<CalibrationPicture> calibration(const DetectorInfo& info, std::size_t count) {
  std::vector<CalibrationPicture> pictures;
  for (const auto& path : pictures_in(shared("data/shapes/images"))) {
    if (pictures.size() == count) break;
    PreparedPicture prepared = prepare_picture(read_picture(path), info, 160);
    const PictureSize size = prepared.place.size();
    pictures.push_back({std::move(prepared.values), size.height, size.width});
  }
  return pictures;
}

/// Plain encoding, and loading of what was written.
ConvertMeans plain_means(ThreadPool& threads) {
  const auto scheme = affine_scheme("affine");
  return {.encoder = {scheme,
                      [scheme](auto weights, auto rows, auto columns, const QuantFormat& format,
                               DType type, auto, auto parts) {
                        scheme->encode(weights, rows, columns, format, type, parts);
                      }},
          .writer = {},
          .kv = nullptr,
          .threads = threads,
          .progress = {},
          .load = load_detector};
}

/// The trained detector with kernels of so many bits.
std::shared_ptr<const LoadedModel> converted(int bits, const std::filesystem::path& place) {
  ThreadPool threads(2);
  ConvertOptions options;
  options.is_optiq = true;
  options.target_bpw = bits;
  options.bits = {bits};
  convert_detector(trained(), {}, place, options, plain_means(threads));
  return load_detector(place);
}

TEST(TrainedDetector, computes_quantized_kernels_from_integers_nearly_as_from_floats) {
  const TemporaryFolder folder;
  ThreadPool threads(2);
  for (const int bits : {4, 8}) {
    const auto model = converted(bits, folder.path() / std::to_string(bits));
    DetectorRun exact(model, threads);
    DetectorRun fine(model, threads, {ComputeMode::fast, ActivationChoice::int16});
    DetectorRun fast(model, threads, ComputeOptions{});
    for (const CalibrationPicture& picture : calibration(exact.info(), 3)) {
      const RawDetections want = exact.run(picture.view());
      const RawDetections near = fine.run(picture.view());
      EXPECT_NE(near.logits, want.logits) << "the integers were not used";
      expect_same_rows(rows_of(best_detections(near, 10)), rows_of(best_detections(want, 10)), 0.1,
                       2e-3);
      EXPECT_LT(detection_divergence(want, fast.run(picture.view())), 0.03);
    }
  }
}

TEST(TrainedDetector, keeps_its_precision_with_kernels_and_maps_of_eight_bits) {
  const TemporaryFolder folder;
  const auto model = converted(8, folder.path() / "8");
  const AveragePrecision before = average_precision(look(trained()), 3);
  const AveragePrecision after = average_precision(look(model, ComputeOptions{}), 3);
  EXPECT_NEAR(after.at50, before.at50, 0.005);
  EXPECT_NEAR(after.at50_95, before.at50_95, 0.01);
}

TEST(TrainedDetector, keeps_its_precision_at_four_and_a_half_true_bits) {
  const TemporaryFolder folder;
  const auto model = trained();
  ThreadPool threads(2);
  ConvertOptions options;
  options.target_bpw = 4.5;
  options.bits = {2, 3, 4, 5, 6, 8};
  const auto pictures = calibration(detector_of(*model).info(), 2);
  const Conversion mixed =
      convert_detector(model, pictures, folder.path() / "mixed", options, plain_means(threads));
  EXPECT_LE(mixed.bpw_true, 4.5);
  const double before = average_precision(look(model), 3).at50;
  const double after = average_precision(look(load_detector(folder.path() / "mixed")), 3).at50;
  EXPECT_GE(after, before - 0.01);
}

}  // namespace
}  // namespace quiver::test
