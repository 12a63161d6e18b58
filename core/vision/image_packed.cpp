// Convolutions with quantized kernels: the rows of a map become codes once, and meet packed weights
// where they lie.
#include <algorithm>
#include <cstring>

#include "core/kernels/kernel_table.hpp"
#include "core/vision/image_pass.hpp"

namespace quiver {
namespace {

// Codes of a band, which stay in the second-level cache with the weights that pass over them.
constexpr std::size_t kBandBytes = 128U << 10U;

// Weights that stay there by themselves: then a row gets all its outputs at once.
constexpr std::size_t kWeightBytes = 384U << 10U;

// Outputs at a time where they do not.
constexpr int kOutputStep = 2 * kPanelOutputs;

// Pixels of a row that share a factor where the kernel looks at one pixel only: finding a range for
// each by itself would take as long as the products do.
constexpr int kBlockPixels = 8;

int code_bytes(ActivationFormat format) {
  return kernels().code_convs->code_bytes[static_cast<int>(format)];
}

/// A convolution of one map.
struct CodedMap {
  const FeatureMap& x;
  const Conv2dPart& conv;
  const PackedConv& packed;
  MapSize size;  ///< Of the result.

  bool is_single() const { return conv.kernel == 1; }
  /// Lines of codes for so many rows of the result.
  int lines(int rows) const { return is_single() ? rows : (rows - 1) * conv.stride + conv.kernel; }
  /// Pixels of a line, with one at either side where the kernel looks at neighbours.
  int pixels() const { return is_single() ? size.width : x.size.width + 2; }
  std::size_t pixel_bytes() const {
    return static_cast<std::size_t>(packed.width * code_bytes(packed.format));
  }
  std::size_t line_bytes() const { return static_cast<std::size_t>(pixels()) * pixel_bytes(); }
  /// The same without those.
  int line_pixels() const { return is_single() ? size.width : x.size.width; }
  /// The row of the map that is line `line` of a band whose first row of the result is `first`.
  int row_at(int first, int line) const {
    return first * conv.stride + line * (is_single() ? conv.stride : 1) - conv.kernel / 2;
  }
  /// The first line of so many rows of the result.
  int line_at(int row) const { return row * (is_single() ? 1 : conv.stride); }
  /// Pixels that share a factor: a whole line where the products of neighbours are to be added up
  /// as integers.
  int block() const { return is_single() ? kBlockPixels : x.size.width; }
  /// Factors and zeros of a line.
  std::size_t factors() const {
    return is_single() ? static_cast<std::size_t>((size.width - 1) / kBlockPixels + 1) : 1;
  }
};

/// Lines of codes in a worker's scratch memory, and what is made of them.
struct BandCodes {
  std::byte* codes = nullptr;
  float* factors = nullptr;
  float* zeros = nullptr;
  std::int32_t* sums = nullptr;    ///< [lines][blocks][pixels]
  float* terms = nullptr;          ///< Of one row: [terms][pixels of the result]
  float* pixel_factors = nullptr;  ///< Of one row: [pixels of the result]
  std::size_t floats = 0;          ///< All of it.

  /// `memory` may be nullptr, to learn how much is needed.
  BandCodes(const CodedMap& map, int rows, float* memory) {
    const auto lines = static_cast<std::size_t>(map.lines(rows));
    const auto take = [&](std::size_t bytes) {
      constexpr std::size_t kAlignment = 64;
      auto* start = memory == nullptr ? nullptr : reinterpret_cast<std::byte*>(memory + floats);
      floats += (bytes + kAlignment - 1) / kAlignment * (kAlignment / sizeof(float));
      return start;
    };
    const auto take_floats = [&](std::size_t count) {
      return reinterpret_cast<float*>(take(count * sizeof(float)));
    };
    codes = take(lines * map.line_bytes());
    factors = take_floats(lines * map.factors());
    zeros = take_floats(lines * map.factors());
    sums = reinterpret_cast<std::int32_t*>(
        take_floats(lines * map.packed.blocks.size() * static_cast<std::size_t>(map.pixels())));
    terms = take_floats(static_cast<std::size_t>(map.packed.terms()) *
                        static_cast<std::size_t>(map.size.width));
    pixel_factors = take_floats(static_cast<std::size_t>(map.size.width));
  }
};

/// The pixel beside a line's first or last is zero, like all around a map.
void write_zero_pixel(std::byte* pixel, const CodedMap& map, float zero) {
  const auto code = static_cast<std::int16_t>(zero);
  if (code_bytes(map.packed.format) == 1) {
    std::memset(pixel, static_cast<std::uint8_t>(code), map.pixel_bytes());
    return;
  }
  for (std::size_t i = 0; i < map.pixel_bytes(); i += sizeof(code)) {
    std::memcpy(pixel + i, &code, sizeof(code));
  }
}

/// Adds the values of row `y` of the map, if it has that.
void find_values(const CodedMap& map, int y, std::vector<MapValues>& values) {
  if (y < 0 || y >= map.x.size.height) return;
  const auto step = static_cast<std::size_t>(map.is_single() ? map.conv.stride : 1);
  for (const MapPart& part : map.x.parts) {
    values.push_back({part.at(y, 0), part.pixel * step, part.channels});
  }
}

/// Line `line` of a band from row `y` of the map, which may lie outside of it.
void encode_line(const CodedMap& map, const BandCodes& band, int line, int y) {
  const auto index = static_cast<std::size_t>(line);
  const auto pixels = static_cast<std::size_t>(map.pixels());
  std::byte* codes = band.codes + index * map.line_bytes();
  float* factors = band.factors + index * map.factors();
  float* zeros = band.zeros + index * map.factors();
  std::int32_t* sums = band.sums + index * map.packed.blocks.size() * pixels;
  std::vector<MapValues> values;
  find_values(map, y, values);
  if (values.empty() || map.packed.width != map.conv.inputs) {
    std::memset(codes, 0, map.line_bytes());
  }
  if (values.empty()) {
    *factors = *zeros = 0;
    std::fill_n(sums, map.packed.blocks.size() * pixels, 0);
    return;
  }
  EncodeRow row;
  row.values = values.data();
  row.value_count = static_cast<int>(values.size());
  row.pixels = map.line_pixels();
  row.block = map.block();
  row.format = map.packed.format;
  row.out = map.is_single() ? codes : codes + map.pixel_bytes();
  row.out_stride = map.pixel_bytes();
  row.factors = factors;
  row.zeros = zeros;
  kernels().code_convs->encode(row);
  if (!map.is_single()) {
    write_zero_pixel(codes, map, *zeros);
    write_zero_pixel(codes + map.line_bytes() - map.pixel_bytes(), map, *zeros);
  }
  for (const PackedConv::Block& block : map.packed.blocks) {
    kernels().code_convs->sum(codes + block.begin * code_bytes(map.packed.format),
                              map.pixel_bytes(), map.pixels(), block.count, map.packed.format,
                              sums);
    sums += pixels;
  }
}

/// What the biases of the groups meet, and what the sums of all weights do: without the code that
/// stands for zero, codes would be values.
void find_terms(const CodedMap& map, const BandCodes& band, int line) {
  const auto pixels = static_cast<std::size_t>(map.pixels());
  const auto width = static_cast<std::size_t>(map.size.width);
  const auto groups = static_cast<std::size_t>(map.packed.groups);
  const std::size_t blocks = map.packed.blocks.size();
  const auto first = static_cast<std::size_t>(line);
  std::fill_n(band.terms, groups * width, 0.0F);
  for (const PackedConv::Piece& piece : map.packed.pieces) {
    const std::size_t at = first + static_cast<std::size_t>(piece.row);
    const std::int32_t* sums = band.sums + (at * blocks + piece.block) * pixels + piece.tap;
    const float factor = map.is_single() ? 1.0F : band.factors[at];
    const auto step = static_cast<std::size_t>(map.is_single() ? 1 : map.conv.stride);
    float* target = band.terms + static_cast<std::size_t>(piece.group) * width;
    for (std::size_t p = 0; p < width; ++p) {
      target[p] += factor * static_cast<float>(sums[p * step]);
    }
  }
  float* target = band.terms + groups * width;
  if (map.is_single()) {
    const float* zeros = band.zeros + first * map.factors();
    const float* factors = band.factors + first * map.factors();
    for (std::size_t p = 0; p < width; ++p) {
      target[p] = -zeros[p / kBlockPixels];
      band.pixel_factors[p] = factors[p / kBlockPixels];
    }
    return;
  }
  for (int row = 0; row < map.packed.rows; ++row) {
    const std::size_t at = first + static_cast<std::size_t>(row);
    std::fill_n(target, width, -band.zeros[at] * band.factors[at]);
    target += width;
  }
}

/// Outputs [output, output + row.end.outputs) of the row of the result that begins at a band's
/// `line`.
void convolve_line(const CodedMap& map, const BandCodes& band, int line, int output,
                   std::vector<CodeRun>& runs, CodeConvRow& row) {
  static constexpr float kOne = 1.0F;
  find_terms(map, band, line);
  runs.clear();
  for (const PackedConv::Run& run : map.packed.runs) {
    const std::byte* codes =
        band.codes + static_cast<std::size_t>(line + run.row) * map.line_bytes();
    runs.push_back(
        {codes + run.begin * code_bytes(map.packed.format), run.units, run.row, run.group});
  }
  const auto panel = static_cast<std::size_t>(output / kPanelOutputs);
  const int parameters = map.packed.groups + map.packed.terms();
  row.runs = runs.data();
  row.run_count = static_cast<int>(runs.size());
  row.stride = map.pixel_bytes() * static_cast<std::size_t>(map.is_single() ? 1 : map.conv.stride);
  row.row_factors = map.is_single() ? &kOne : band.factors + line;
  row.pixel_factors = map.is_single() ? band.pixel_factors : nullptr;
  row.terms = band.terms;
  row.term_count = map.packed.terms();
  row.weights =
      reinterpret_cast<const std::byte*>(map.packed.weights.get()) + panel * map.packed.panel_bytes;
  row.panel_bytes = map.packed.panel_bytes;
  row.parameters =
      map.packed.parameters.get() + panel * static_cast<std::size_t>(parameters * kPanelOutputs);
  row.groups = map.packed.groups;
  row.format = map.packed.format;
  kernels().code_convs->convolve(row);
}

}  // namespace

void ImagePass::convolve_packed(const FeatureMap& x, const Conv2dPart& conv,
                                const PackedConv& packed, const FeatureMap* residual,
                                Tensor result) {
  const FeatureMap& out = maps_[static_cast<std::size_t>(result.id)];
  const MapPart& target = out.parts.front();
  const CodedMap map{x, conv, packed, out.size};
  const int rows = out.size.height;
  const int fitting = static_cast<int>(kBandBytes / map.line_bytes());
  int bands = (rows - 1) / std::max(1, fitting / conv.stride) + 1;
  // Neighbouring bands make codes of the rows that both need.
  const int least = (map.is_single() ? 4 : 2) * threads_.threads();
  if (threads_.threads() > 1) bands = std::min(rows, std::max(bands, least));
  const auto panels = static_cast<std::size_t>((conv.outputs + kPanelOutputs - 1) / kPanelOutputs);
  const bool is_at_once = panels * packed.panel_bytes <= kWeightBytes;
  const std::size_t floats = BandCodes(map, (rows - 1) / bands + 1, nullptr).floats;
  threads_.run(bands, [&](int task, int worker) {
    const int first = static_cast<int>(std::int64_t{rows} * task / bands);
    const int last = static_cast<int>(std::int64_t{rows} * (task + 1) / bands);
    const BandCodes band(map, last - first, memory_.scratch(worker, floats));
    std::vector<MapValues> ahead;
    std::vector<CodeRun> runs;
    int encoded = 0;
    for (int output = 0, count = 0; output < conv.outputs; output += count) {
      count = is_at_once ? conv.outputs : std::min(kOutputStep, conv.outputs - output);
      for (int y = first; y < last; ++y) {
        const int next = map.lines(y + 1 - first);
        for (; encoded < next; ++encoded) {
          encode_line(map, band, encoded, map.row_at(first, encoded));
        }
        ahead.clear();
        if (encoded == next && y + 1 < last) {
          for (int line = next; line < map.lines(y + 2 - first); ++line) {
            find_values(map, map.row_at(first, line), ahead);
          }
        }
        CodeConvRow row;
        row.ahead = ahead.data();
        row.ahead_count = static_cast<int>(ahead.size());
        row.ahead_pixels = map.line_pixels();
        row.end.out = target.origin + target.row * static_cast<std::size_t>(y) + output;
        row.end.out_stride = target.pixel;
        row.end.outputs = count;
        row.end.pixels = out.size.width;
        row.end.scale = packed.scale.data() + output;
        row.end.bias = packed.bias.data() + output;
        row.end.is_silu = conv.activation == Activation::silu;
        if (residual != nullptr) {
          row.end.residual = residual->parts.front().at(y, 0) + output;
          row.end.residual_stride = residual->parts.front().pixel;
        }
        convolve_line(map, band, map.line_at(y - first), output, runs, row);
      }
    }
  });
}

}  // namespace quiver
