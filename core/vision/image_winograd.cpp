// Convolutions of 3 x 3 by transformed tiles: a few tiles at a time, point after point.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/kernels/kernel_table.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {
namespace {

/// Tiles that are computed together: enough to use each weight often, few enough for their points
/// to stay in the second-level cache.
constexpr int kMostTiles = 28;

// Planes that are a power of two apart would meet in the same lines of a cache.
constexpr std::size_t kPlaneGap = 16;

/// Where the tile at (top, left) of outputs finds its inputs. Those beyond the map's border, where
/// its sides are no multiples of a tile's, are zeros in `patch`.
struct TileInputs {
  const MapPart& x;
  MapSize size;
  float* patch;

  void read(WinogradInput& tile, int top, int left) const {
    tile.x = x.at(top - 1, left - 1);
    tile.row = x.row;
    tile.pixel = x.pixel;
    const int height = std::min(kWinogradIn, size.height + 2 - top);
    const int width = std::min(kWinogradIn, size.width + 2 - left);
    if (height == kWinogradIn && width == kWinogradIn) return;
    const auto channels = static_cast<std::size_t>(x.channels);
    std::memset(patch, 0, kWinogradPoints * channels * sizeof(float));
    for (int row = 0; row < height; ++row) {
      for (int column = 0; column < width; ++column) {
        std::copy_n(x.at(top - 1 + row, left - 1 + column), channels,
                    patch + static_cast<std::size_t>(row * kWinogradIn + column) * channels);
      }
    }
    tile.x = patch;
    tile.row = kWinogradIn * channels;
    tile.pixel = channels;
  }
};

/// The products of all points: `tiles` rows of `points` with the panels, into `sums`.
void multiply_points(const float* points, std::size_t point_plane, float* sums,
                     std::size_t sum_plane, int tiles, int inputs, int outputs,
                     const ConvPanels& panels) {
  const ImageKernels& images = *kernels().images;
  const auto channels = static_cast<std::size_t>(inputs);
  ConvRun run{points, channels, inputs};
  ConvRow row;
  row.runs = &run;
  row.run_count = 1;
  row.weights = panels.weights.get();
  row.panel_stride = channels * kPanelOutputs;
  row.out_stride = static_cast<std::size_t>(outputs);
  row.pixels = tiles;
  for (int point = 0; point < kWinogradPoints; ++point) {
    run.x = points + static_cast<std::size_t>(point) * point_plane;
    for (int panel = 0; panel < panels.panels; panel += row.panels) {
      const int first = panel * kPanelOutputs;
      row.panels = std::min(images.panels, panels.panels - panel);
      row.outputs = std::min(row.panels * kPanelOutputs, outputs - first);
      row.out = sums + static_cast<std::size_t>(point) * sum_plane + first;
      images.convolve(row);
      row.weights += static_cast<std::size_t>(row.panels) * row.panel_stride;
    }
  }
}

}  // namespace

void ImagePass::convolve_points(const MapPart& x, MapSize size, const Conv2dPart& conv,
                                const ConvPanels& panels, const FeatureMap* residual,
                                Tensor result) {
  const MapPart target = part(result);
  const ImageKernels& images = *kernels().images;
  const int across = (size.width + kWinogradOut - 1) / kWinogradOut;
  const int tiles = across * ((size.height + kWinogradOut - 1) / kWinogradOut);
  const int groups = std::clamp((tiles + kMostTiles - 1) / kMostTiles,
                                std::min(tiles, 2 * (threads_.threads() - 1)), tiles);
  const auto most = static_cast<std::size_t>((tiles + groups - 1) / groups);
  const auto inputs = static_cast<std::size_t>(conv.inputs);
  const std::size_t point_plane = most * inputs + kPlaneGap;
  const std::size_t sum_plane = most * static_cast<std::size_t>(conv.outputs) + kPlaneGap;
  const std::size_t patch = kWinogradPoints * inputs;
  threads_.run(groups, [&](int group, int worker) {
    const int first = static_cast<int>(std::int64_t{tiles} * group / groups);
    const int last = static_cast<int>(std::int64_t{tiles} * (group + 1) / groups);
    float* points = memory_.scratch(worker, kWinogradPoints * (point_plane + sum_plane) + patch);
    float* sums = points + kWinogradPoints * point_plane;
    const TileInputs source{x, size, sums + kWinogradPoints * sum_plane};
    WinogradInput in;
    in.channels = conv.inputs;
    in.plane = point_plane;
    for (int tile = first; tile < last; ++tile) {
      source.read(in, tile / across * kWinogradOut, tile % across * kWinogradOut);
      in.out = points + static_cast<std::size_t>(tile - first) * inputs;
      images.winograd_input(in);
    }
    multiply_points(points, point_plane, sums, sum_plane, last - first, conv.inputs, conv.outputs,
                    panels);
    WinogradOutput out;
    out.plane = sum_plane;
    out.outputs = conv.outputs;
    out.scale = panels.scale.data();
    out.bias = panels.bias.data();
    out.row = target.row;
    out.pixel = target.pixel;
    out.is_silu = conv.activation == Activation::silu;
    for (int tile = first; tile < last; ++tile) {
      const int top = tile / across * kWinogradOut;
      const int left = tile % across * kWinogradOut;
      out.height = std::min(kWinogradOut, size.height - top);
      out.width = std::min(kWinogradOut, size.width - left);
      out.sums =
          sums + static_cast<std::size_t>(tile - first) * static_cast<std::size_t>(conv.outputs);
      out.out = target.origin + target.row * static_cast<std::size_t>(top) +
                target.pixel * static_cast<std::size_t>(left);
      if (residual != nullptr) {
        const MapPart& other = residual->parts.front();
        out.residual = other.at(top, left);
        out.residual_row = other.row;
        out.residual_pixel = other.pixel;
      }
      images.winograd_output(out);
    }
  });
}

}  // namespace quiver
