// Runs a detector on pictures.
#include "core/vision/detector_run.hpp"

#include <fmt/format.h>

#include <quiver/error.hpp>

namespace quiver {
namespace {

/// The tensor of a stream by its place in a KeptStream.
Tensor& tensor_of(Stream& stream, std::size_t index) {
  return index == 0 ? stream.x : stream.side[index - 1];
}

KeptStream keep(const ImagePass& pass, Stream stream) {
  KeptStream kept;
  for (std::size_t i = 0; i < kept.maps.size(); ++i) {
    if (const Tensor tensor = tensor_of(stream, i)) kept.maps[i] = pass.keep(tensor);
  }
  return kept;
}

}  // namespace

const Detector& detector_of(const LoadedModel& model) {
  const void* detector = model.model().extension(Detector::kInterfaceId);
  if (detector == nullptr) {
    throw Error(ErrorCode::usage, "the model does not detect objects", model.folder().string(),
                "use the command for its kind of model");
  }
  return *static_cast<const Detector*>(detector);
}

DetectorRun::DetectorRun(std::shared_ptr<const LoadedModel> model, ThreadPool& threads,
                         const ComputeOptions& compute)
    : model_(std::move(model)),
      detector_(detector_of(*model_)),
      threads_(threads),
      compute_(compute),
      panels_(model_->weights().images()) {}

void DetectorRun::check_size(const PictureView& picture) const {
  const int multiple = detector_.info().multiple;
  if (picture.height > 0 && picture.width > 0 && picture.height % multiple == 0 &&
      picture.width % multiple == 0) {
    return;
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("a picture of {} x {} pixels", picture.width, picture.height), "input",
              fmt::format("its sides must be multiples of {}", multiple));
}

RawDetections DetectorRun::finish(ImagePass& pass, const Stream& stream) const {
  RawDetections raw;
  raw.classes = detector_.info().class_count;
  const auto levels = detector_.levels(stream);
  std::size_t cells = 0;
  for (const DetectorLevel& level : levels) {
    if (level.stride == 0) break;
    const FeatureMap boxes = pass.map(level.boxes);
    const FeatureMap logits = pass.map(level.logits);
    if (boxes.channels != 4 || logits.channels != raw.classes || boxes.size != logits.size ||
        level.stride < 0) {
      throw Error(ErrorCode::internal, "a level of predictions has the wrong shape", "levels",
                  "report this to the architecture's author");
    }
    raw.grids.push_back({boxes.size.height, boxes.size.width, level.stride});
    cells += static_cast<std::size_t>(raw.grids.back().cells());
  }
  // All at once: memory that grows is copied, and comes from the system anew in every pass.
  raw.distances.reserve(4 * cells);
  raw.logits.reserve(cells * static_cast<std::size_t>(raw.classes));
  for (std::size_t i = 0; i < raw.grids.size(); ++i) {
    pass.append(levels[i].boxes, raw.distances);
    pass.append(levels[i].logits, raw.logits);
  }
  return raw;
}

RawDetections DetectorRun::run(const PictureView& picture, const Observer& observer) {
  check_size(picture);
  ImagePass pass(picture, means());
  Stream stream = detector_.begin(pass);
  for (int i = 0; i < model_->model().block_count(); ++i) {
    pass.run_block(model_->model(), i, stream);
    if (observer) observer(i, pass, stream);
  }
  return finish(pass, stream);
}

KeptStream DetectorRun::start(const PictureView& picture) {
  check_size(picture);
  ImagePass pass(picture, means());
  return keep(pass, detector_.begin(pass));
}

Stream DetectorRun::adopt(ImagePass& pass, const KeptStream& kept) const {
  Stream stream;
  for (std::size_t i = 0; i < kept.maps.size(); ++i) {
    if (kept.maps[i].channels > 0) tensor_of(stream, i) = pass.adopt(kept.maps[i]);
  }
  return stream;
}

KeptStream DetectorRun::advance(const PictureView& picture, const KeptStream& kept, int block) {
  ImagePass pass(picture, means());
  Stream stream = adopt(pass, kept);
  pass.run_block(model_->model(), block, stream);
  return keep(pass, stream);
}

RawDetections DetectorRun::resume(const PictureView& picture, const KeptStream& kept, int first) {
  ImagePass pass(picture, means());
  Stream stream = adopt(pass, kept);
  for (int i = first; i < model_->model().block_count(); ++i) {
    pass.run_block(model_->model(), i, stream);
  }
  return finish(pass, stream);
}

}  // namespace quiver
