// Passes of a model's tower for pictures.
#include <quiver/error.hpp>
#include <quiver/image_encoder.hpp>

#include "core/decode/engine.hpp"

namespace quiver {

std::vector<float> Engine::encode_image(std::span<const float> patches, int grid_rows,
                                        int grid_columns) {
  const auto* encoder =
      static_cast<const ImageEncoder*>(model_->model().extension(ImageEncoder::kInterfaceId));
  if (encoder == nullptr) {
    throw Error(ErrorCode::usage, "the model does not look at pictures", model_->folder().string(),
                "use a checkpoint that has a tower for them");
  }
  const int merge = encoder->image().merge;
  const auto rows = static_cast<std::size_t>(grid_rows) * static_cast<std::size_t>(grid_columns);
  if (merge < 1 || grid_rows < merge || grid_columns < merge || grid_rows % merge != 0 ||
      grid_columns % merge != 0 || patches.size() % rows != 0) {
    throw Error(ErrorCode::internal, "patches that make no picture", "encode_image");
  }
  Batch batch;
  batch.segments.push_back({});
  batch.segments[0].rows = static_cast<int>(rows);
  batch.picture_grids = {{grid_rows, grid_columns}};
  batch.tokens.assign(rows, 0);
  for (int y = 0; y < grid_rows; y += merge) {
    for (int x = 0; x < grid_columns; x += merge) {
      for (int i = 0; i < merge * merge; ++i) {
        batch.positions.push_back({0, y + i / merge, x + i % merge});
      }
    }
  }
  ForwardOps ops(model_->weights(), kv_, batch, memory_, {threads_, compute_, packed_.get()});
  const auto width = static_cast<int>(patches.size() / rows);
  const Tensor features = encoder->encode(ops, ops.adopt(patches, width));
  const std::span<const float> values = ops.values(features);
  const std::size_t wanted =
      rows / static_cast<std::size_t>(merge * merge) * static_cast<std::size_t>(info_.hidden);
  if (values.size() != wanted) {
    throw Error(ErrorCode::plugin, "the tower gives another number of values than pictures need",
                model_->architecture().plugin, "report this to the plugin's author");
  }
  return {values.begin(), values.end()};
}

}  // namespace quiver
