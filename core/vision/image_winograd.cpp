// Convolutions of 3 x 3 by transformed tiles: a few tiles at a time, sum after sum.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/kernels/kernel_table.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {
namespace {

/// Tiles that are computed together: enough to use each weight often, few enough for what
/// they become to stay in the second-level cache.
constexpr int kMostTiles = 14;

// Sums that lie a power of two apart would meet in the same lines of a cache.
constexpr std::size_t kGap = 16;

/// Where the tile at (top, left) of inputs, its border included, is read. What lies beyond the
/// map's border, where its sides are no multiples of a tile's, are zeros in `patch`.
struct TileInputs {
  const MapPart& x;
  MapSize size;
  int in;
  float* patch;

  void read(WinogradInput& tile, int top, int left) const {
    tile.x = x.at(top - 1, left - 1);
    tile.row = x.row;
    tile.pixel = x.pixel;
    const int height = std::min(in, size.height + 2 - top);
    const int width = std::min(in, size.width + 2 - left);
    if (height == in && width == in) return;
    const auto channels = static_cast<std::size_t>(x.channels);
    std::memset(patch, 0, static_cast<std::size_t>(in * in) * channels * sizeof(float));
    for (int row = 0; row < height; ++row) {
      for (int column = 0; column < width; ++column) {
        std::copy_n(x.at(top - 1 + row, left - 1 + column), channels,
                    patch + static_cast<std::size_t>(row * in + column) * channels);
      }
    }
    tile.x = patch;
    tile.row = static_cast<std::size_t>(in) * channels;
    tile.pixel = channels;
  }
};

/// The scratch memory of `tiles` tiles: for each sum the values that go to it, tile by tile, then
/// the sums themselves.
struct TileScratch {
  SumLayout layout;
  std::size_t inputs;
  std::vector<std::size_t> begins;  // of a sum's values
  std::size_t values = 0;           // floats of all values
  std::size_t plane;                // floats of a sum

  TileScratch(const WinogradScheme& scheme, std::size_t tiles, std::size_t channels,
              std::size_t outputs)
      : layout(scheme), inputs(channels), plane(tiles * outputs + kGap) {
    for (int sum = 0; sum < layout.sums(); ++sum) {
      begins.push_back(values);
      values += tiles * row(sum) + kGap;
    }
  }

  std::size_t floats() const { return values + static_cast<std::size_t>(layout.sums()) * plane; }
  /// Floats of a tile's values for a sum.
  std::size_t row(int sum) const { return static_cast<std::size_t>(layout.width(sum)) * inputs; }

  /// Where a tile's values begin, and how far the next tile's lie behind.
  void find_places(std::span<std::size_t> places, std::span<std::size_t> steps) const {
    for (int value = 0; value < layout.values(); ++value) {
      const int sum = layout.sum_of(value);
      const auto i = static_cast<std::size_t>(value);
      steps[i] = row(sum);
      places[i] = begins[static_cast<std::size_t>(sum)] +
                  static_cast<std::size_t>(layout.place_of(value)) * inputs;
    }
  }
};

/// All products of some tiles.
void multiply_tiles(const TileScratch& scratch, const float* values, float* sums, int tiles,
                    int outputs, const ConvPanels& panels) {
  const ImageKernels& images = *kernels().images;
  ConvRun run;
  ConvRow row;
  row.runs = &run;
  row.run_count = 1;
  row.weights = panels.weights.get();
  row.out_stride = static_cast<std::size_t>(outputs);
  row.pixels = tiles;
  for (int sum = 0; sum < scratch.layout.sums(); ++sum) {
    const std::size_t length = scratch.row(sum);
    run = {values + scratch.begins[static_cast<std::size_t>(sum)], length,
           static_cast<int>(length)};
    row.panel_stride = length * kPanelOutputs;
    for (int panel = 0; panel < panels.panels; panel += row.panels) {
      const int first = panel * kPanelOutputs;
      row.panels = std::min(images.panels, panels.panels - panel);
      row.outputs = std::min(row.panels * kPanelOutputs, outputs - first);
      row.out = sums + static_cast<std::size_t>(sum) * scratch.plane + first;
      images.convolve(row);
      row.weights += static_cast<std::size_t>(row.panels) * row.panel_stride;
    }
  }
}

}  // namespace

void ImagePass::convolve_transformed(const FeatureMap& input, const Conv2dPart& conv,
                                     const ConvPanels& panels, const FeatureMap* residual,
                                     Tensor result) {
  const FeatureMap& output = maps_[static_cast<std::size_t>(result.id)];
  const MapPart& target = output.parts.front();
  const WinogradKernels& images =
      kernels().images->winograd[static_cast<std::size_t>(conv.stride - 1)];
  const MapSize size = output.size;
  const int across = (size.width + kWinogradOut - 1) / kWinogradOut;
  const int tiles = across * ((size.height + kWinogradOut - 1) / kWinogradOut);
  const int groups = std::clamp((tiles + kMostTiles - 1) / kMostTiles,
                                std::min(tiles, 2 * (threads_.threads() - 1)), tiles);
  const TileScratch scratch(*panels.scheme, static_cast<std::size_t>((tiles + groups - 1) / groups),
                            static_cast<std::size_t>(conv.inputs),
                            static_cast<std::size_t>(conv.outputs));
  const int step = kWinogradOut * conv.stride;
  const int in = panels.scheme->in;
  const std::size_t patch = static_cast<std::size_t>(in * in * conv.inputs);
  threads_.run(groups, [&](int group, int worker) {
    const int first = static_cast<int>(std::int64_t{tiles} * group / groups);
    const int last = static_cast<int>(std::int64_t{tiles} * (group + 1) / groups);
    float* values = memory_.scratch(worker, scratch.floats() + patch);
    float* sums = values + scratch.values;
    const TileInputs source{input.parts.front(), input.size, in, values + scratch.floats()};
    std::array<std::size_t, kMostWinogradIn * kMostWinogradIn> places{};
    std::array<std::size_t, kMostWinogradIn * kMostWinogradIn> steps{};
    scratch.find_places(places, steps);
    WinogradInput from;
    from.channels = conv.inputs;
    from.out = values;
    from.places = places.data();
    for (int tile = first; tile < last; ++tile) {
      source.read(from, tile / across * step, tile % across * step);
      images.input(from);
      for (std::size_t i = 0; i < places.size(); ++i) places[i] += steps[i];
    }
    multiply_tiles(scratch, values, sums, last - first, conv.outputs, panels);
    WinogradOutput to;
    to.plane = scratch.plane;
    to.outputs = conv.outputs;
    to.scale = panels.scale.data();
    to.bias = panels.bias.data();
    to.row = target.row;
    to.pixel = target.pixel;
    to.is_silu = conv.activation == Activation::silu;
    for (int tile = first; tile < last; ++tile) {
      const int top = tile / across * kWinogradOut;
      const int left = tile % across * kWinogradOut;
      to.height = std::min(kWinogradOut, size.height - top);
      to.width = std::min(kWinogradOut, size.width - left);
      to.sums = sums + static_cast<std::size_t>((tile - first) * conv.outputs);
      to.out = target.origin + target.row * static_cast<std::size_t>(top) +
               target.pixel * static_cast<std::size_t>(left);
      if (residual != nullptr) {
        const MapPart& other = residual->parts.front();
        to.residual = other.at(top, left);
        to.residual_row = other.row;
        to.residual_pixel = other.pixel;
      }
      images.output(to);
    }
  });
}

}  // namespace quiver
