// Runs a detector on pictures.
#pragma once

#include <functional>
#include <memory>
#include <quiver/detector.hpp>
#include <vector>

#include "core/model/loaded_model.hpp"
#include "core/vision/detections.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {

/// The model as a detector. Throws Error(usage) where it is none. [any-thread]
const Detector& detector_of(const LoadedModel& model);

/// A stream with the values of its maps, from which a pass can go on.
struct KeptStream {
  std::array<KeptMap, 1 + Stream::kMaxSides> maps;  ///< x, then the sides; none where 0 channels.
};

/// A model with the memory that its passes reuse. [one-call-at-a-time]
class DetectorRun {
 public:
  /// Sees the stream after each block.
  using Observer = std::function<void(int block, const ImagePass& pass, const Stream& stream)>;

  /// The threads outlive the object. Throws as detector_of().
  DetectorRun(std::shared_ptr<const LoadedModel> model, ThreadPool& threads,
              const ComputeOptions& compute = {ComputeMode::exact});

  const LoadedModel& model() const noexcept { return *model_; }
  DetectorInfo info() const { return detector_.info(); }

  /// What is predicted for a picture whose sides are multiples of info().multiple. Throws
  /// Error(bad_input) for other sides.
  RawDetections run(const PictureView& picture, const Observer& observer = {});

  /// The stream in front of the first block. Throws as run().
  KeptStream start(const PictureView& picture);

  /// The stream behind a block, from that in front of it.
  KeptStream advance(const PictureView& picture, const KeptStream& stream, int block);

  /// What is predicted, from the stream in front of block `first`.
  RawDetections resume(const PictureView& picture, const KeptStream& stream, int first);

  /// Computes a convolution with another matrix until that is nullptr.
  void replace(Conv2d conv, const StoredMatrix* matrix) { panels_.replace(conv, matrix); }

 private:
  RawDetections finish(ImagePass& pass, const Stream& stream) const;
  Stream adopt(ImagePass& pass, const KeptStream& kept) const;
  void check_size(const PictureView& picture) const;
  ImageMeans means() { return {model_->weights().images(), panels_, memory_, threads_, compute_}; }

  std::shared_ptr<const LoadedModel> model_;
  const Detector& detector_;
  ThreadPool& threads_;
  ComputeOptions compute_;
  PanelCache panels_;
  ImageMemory memory_;
};

}  // namespace quiver
