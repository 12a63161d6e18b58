// The extension of text models that look at pictures, and what their towers are made of.
#pragma once

#include <quiver/handles.hpp>
#include <quiver/ops.hpp>

#include <array>
#include <cstdint>
#include <string_view>

namespace quiver {

/// How pictures become rows of a tower and tokens of a text. Where a checkpoint brings a
/// preprocessor_config.json, its sizes, means and deviations count.
struct ImageSpec {
  int patch = 16;                        ///< Side of a patch in pixels.
  int merge = 2;                         ///< Squares of merge * merge patches become one token.
  int temporal = 2;                      ///< Frames of a patch; a picture stands for all of them.
  std::int64_t min_pixels = 65'536;      ///< Smaller pictures are enlarged.
  std::int64_t max_pixels = 16'777'216;  ///< Larger ones are shrunk.
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F};  ///< Of colours in [0, 1].
  std::array<float, 3> std{0.5F, 0.5F, 0.5F};
  std::int32_t image_token = -1;  ///< Stands for each square of patches.
  std::int32_t begin_token = -1;  ///< Before the tokens of a picture; -1 = none.
  std::int32_t end_token = -1;    ///< Behind them; -1 = none.
};

/// Asked of a Model by id, and found only where the checkpoint holds the tower. A text's rotary
/// positions run on by one a token; the tokens of a picture all stand at one time, by rows and
/// columns in height and width, and the text goes on behind the larger of the two. [any-thread]
class ImageEncoder {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.image-encoder/1";
  virtual ~ImageEncoder() = default;

  virtual ImageSpec image() const = 0;

  /// Patches [rows, 3 * temporal * patch * patch], each (colour, frame, row, column), square by
  /// square -> what stands for the pictures' tokens [rows / merge^2, hidden]. The rows' positions
  /// are 0, row and column of the patch.
  virtual Tensor encode(Ops& ops, Tensor patches) const = 0;
};

/// Normalisation with a mean, a weight and a bias.
struct LayerNorm {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};

/// A table of vectors over a square, to be read anywhere in it.
struct PositionTable {
  std::int32_t id = -1;
  explicit operator bool() const noexcept { return id >= 0; }
};

/// The shape of a patch as a convolution sees it.
struct PatchShape {
  int colours = 3;
  int frames = 1;
  int side = 16;
};

/// Asked of Weights by id. Errors as there. [load-thread]
class TowerWeights {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.tower-weights/1";
  virtual ~TowerWeights() = default;

  /// A convolution over whole patches as a linear with bias: NAME.weight as
  /// [outputs, colours, frames, side, side] or [outputs, frames, side, side, colours].
  virtual Linear patch_embedding(std::string_view name, int outputs, const PatchShape& patch) = 0;

  /// NAME.weight and NAME.bias [width].
  virtual LayerNorm layer_norm(std::string_view name, int width, float epsilon) = 0;

  /// NAME.weight [side * side, width], row by row of the square.
  virtual PositionTable position_table(std::string_view name, int side, int width) = 0;
};

/// Asked of Ops by id.
class TowerOps {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.tower-ops/1";
  virtual ~TowerOps() = default;

  /// (x - mean) / sqrt(variance + epsilon) * weight + bias over the whole row.
  virtual Tensor layer_norm(Tensor x, LayerNorm norm) = 0;

  /// For each row the table at its place in its picture: the picture's corners lie on the table's,
  /// and between four entries the value is interpolated -> [rows, width of the table].
  virtual Tensor positions(PositionTable table) = 0;

  /// softmax(scale q k^T) v among the rows of each picture, for `heads` heads side by side.
  virtual Tensor picture_attention(Tensor q, Tensor k, Tensor v, int heads, float scale) = 0;

  /// `count` rows become one, side by side.
  virtual Tensor merge_rows(Tensor x, int count) = 0;
};

}  // namespace quiver
