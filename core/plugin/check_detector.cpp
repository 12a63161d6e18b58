// What is checked of a detector that runs.
#include "core/plugin/check_model.hpp"
#include "core/plugin/check_support.hpp"
#include "core/vision/detector_run.hpp"

#include <algorithm>
#include <cmath>

namespace quiver {

std::string check_detector_runs(const std::shared_ptr<const LoadedModel>& model) {
  constexpr int kMultiples = 2;
  ThreadPool one_thread(1);
  ThreadPool four_threads(4);
  DetectorRun one(model, one_thread);
  DetectorRun some(model, four_threads);
  const DetectorInfo info = one.info();
  require(info.multiple > 0 && info.multiple <= 1024 && info.input_size > 0 && info.class_count > 0,
          "its detector has no classes or no size");
  const int side = kMultiples * info.multiple;
  const std::vector<float> noise =
      check_noise(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3, 1);
  const PictureView picture{noise, side, side};
  const RawDetections raw = one.run(picture);
  require(
      raw.cells() > 0 && std::ranges::all_of(raw.logits, [](float x) { return std::isfinite(x); }),
      "random weights give predictions that are not finite, or none");
  const auto is_same = [&](const RawDetections& other) {
    return has_same_bits(raw.logits, other.logits) && has_same_bits(raw.distances, other.distances);
  };
  require(is_same(one.run(picture)), "the second run gives other bits");
  require(is_same(some.run(picture)), "four threads give other bits than one");
  const int middle = model->model().block_count() / 2;
  KeptStream stream = one.start(picture);
  for (int block = 0; block < middle; ++block) stream = one.advance(picture, stream, block);
  require(is_same(one.resume(picture, stream, middle)), "going on in the middle gives other bits");
  return std::to_string(raw.cells()) + " cells of " + std::to_string(info.class_count) + " classes";
}

}  // namespace quiver
