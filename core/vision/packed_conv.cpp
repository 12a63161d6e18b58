// Quantized kernels in the layout of the products with codes.
#include "core/vision/packed_conv.hpp"

#include <algorithm>
#include <array>
#include <quiver/quant_scheme.hpp>

#include "core/kernels/kernel_table.hpp"
#include "core/kernels/packed_weights.hpp"

namespace quiver {
namespace {

/// Values of a stored matrix as they lie: codes and what turns them into weights.
class StoredCodes {
 public:
  explicit StoredCodes(const StoredMatrix& matrix)
      : codes_(matrix.parts[0]),
        bits_(static_cast<std::size_t>(matrix.format.bits)),
        columns_(static_cast<std::size_t>(matrix.columns)),
        group_size_(static_cast<std::size_t>(matrix.format.group_size)) {
    const std::size_t count = static_cast<std::size_t>(matrix.rows) * columns_ / group_size_;
    scales_.resize(count);
    biases_.resize(count);
    decode_floats(matrix.dtype, matrix.parts[1].data(), count, scales_.data());
    decode_floats(matrix.dtype, matrix.parts[2].data(), count, biases_.data());
  }

  unsigned code(std::size_t row, std::size_t column) const {
    const std::size_t bit = (row * columns_ + column) * bits_;
    unsigned word = std::to_integer<unsigned>(codes_[bit / 8]);
    if (bit % 8 + bits_ > 8) word |= std::to_integer<unsigned>(codes_[bit / 8 + 1]) << 8U;
    return word >> (bit % 8) & ((1U << bits_) - 1U);
  }
  float scale(std::size_t row, std::size_t group) const { return scales_[at(row, group)]; }
  float bias(std::size_t row, std::size_t group) const { return biases_[at(row, group)]; }
  double weight(std::size_t row, std::size_t column) const {
    const std::size_t group = column / group_size_;
    return double{scale(row, group)} * code(row, column) + double{bias(row, group)};
  }

 private:
  std::size_t at(std::size_t row, std::size_t group) const {
    return row * (columns_ / group_size_) + group;
  }

  std::span<const std::byte> codes_;
  std::size_t bits_;
  std::size_t columns_;
  std::size_t group_size_;
  std::vector<float> scales_;
  std::vector<float> biases_;
};

std::size_t find_block(std::vector<PackedConv::Block>& blocks, const PackedConv::Block& block) {
  const auto found = std::ranges::find(blocks, block);
  const auto index = static_cast<std::size_t>(found - blocks.begin());
  if (found == blocks.end()) blocks.push_back(block);
  return index;
}

/// Runs, and which sums of codes belong to which group.
void lay_out(const Conv2dPart& part, PackedConv& conv) {
  const int group_size = part.matrix.format.group_size;
  const int columns = part.kernel * part.inputs;  // of a row of the kernel
  for (int row = 0; row < part.kernel; ++row) {
    int next = 0;
    for (int column = 0; column < columns; column = next) {
      const int group = (row * columns + column) / group_size;
      next = std::min(columns, (group + 1) * group_size - row * columns);
      const auto place = [&](int at) { return at / part.inputs * conv.width + at % part.inputs; };
      const int begin = place(column) / kUnitCodes;
      conv.runs.push_back(
          {begin * kUnitCodes, place(next - 1) / kUnitCodes + 1 - begin, row, group});
      for (int at = column; at < next;) {
        const int tap = at / part.inputs;
        const int end = std::min(next, (tap + 1) * part.inputs);
        const PackedConv::Block block{at % part.inputs, end - at};
        conv.pieces.push_back({group, row, tap, find_block(conv.blocks, block)});
        at = end;
      }
    }
  }
  std::ranges::stable_sort(conv.pieces, {}, &PackedConv::Piece::group);
}

/// The column of the matrix that meets the code at `place` in a run, or -1: what fills a pixel up,
/// or belongs to another group.
int column_at(const Conv2dPart& part, const PackedConv& conv, const PackedConv::Run& run,
              int place) {
  const int channel = place % conv.width;
  if (channel >= part.inputs) return -1;
  const int column = (run.row * part.kernel + place / conv.width) * part.inputs + channel;
  return column / part.matrix.format.group_size == run.group ? column : -1;
}

void write_weights(const Conv2dPart& part, const StoredCodes& stored, PackedConv& conv) {
  const bool is_narrow = kernels().code_convs->code_bytes[static_cast<int>(conv.format)] == 1;
  constexpr std::array<int, kUnitCodes> kNarrow{0, 1, 2, 3};
  constexpr std::array<int, kUnitCodes> kWide{0, 2, 1, 3};
  const auto& order = is_narrow ? kNarrow : kWide;
  auto* bytes = reinterpret_cast<std::byte*>(conv.weights.get());
  const int panels = (part.outputs + kPanelOutputs - 1) / kPanelOutputs;
  for (int panel = 0; panel < panels; ++panel) {
    for (const PackedConv::Run& run : conv.runs) {
      for (int place = run.begin; place < run.begin + run.units * kUnitCodes; ++place) {
        const int column = column_at(part, conv, run, place);
        const int in_unit = order[static_cast<std::size_t>(place % kUnitCodes)];
        std::byte* unit = bytes + (place - run.begin) / kUnitCodes * kPanelOutputs * kUnitCodes;
        for (int lane = 0; lane < kPanelOutputs; ++lane) {
          const int output = panel * kPanelOutputs + lane;
          const bool is_none = column < 0 || output >= part.outputs;
          unit[lane * kUnitCodes + in_unit] =
              static_cast<std::byte>(is_none ? 0U
                                             : stored.code(static_cast<std::size_t>(output),
                                                           static_cast<std::size_t>(column)));
        }
      }
      bytes += run.units * kPanelOutputs * kUnitCodes;
    }
  }
}

void write_parameters(const Conv2dPart& part, const StoredCodes& stored, PackedConv& conv) {
  const auto groups = static_cast<std::size_t>(conv.groups);
  const auto columns = static_cast<std::size_t>(part.kernel * part.inputs);
  const std::size_t rows = groups + static_cast<std::size_t>(conv.terms());
  for (std::size_t o = 0; o < static_cast<std::size_t>(part.outputs); ++o) {
    float* target =
        conv.parameters.get() + o / kPanelOutputs * rows * kPanelOutputs + o % kPanelOutputs;
    for (std::size_t g = 0; g < groups; ++g) {
      target[g * kPanelOutputs] = stored.scale(o, g);
      target[(groups + g) * kPanelOutputs] = stored.bias(o, g);
    }
    for (std::size_t row = 0; row < static_cast<std::size_t>(part.kernel); ++row) {
      double sum = 0;
      for (std::size_t i = 0; i < columns; ++i) sum += stored.weight(o, row * columns + i);
      target[(2 * groups + row) * kPanelOutputs] = static_cast<float>(sum);
    }
  }
}

}  // namespace

bool is_packable(const Conv2dPart& part) {
  const StoredMatrix& matrix = part.matrix;
  // With fewer channels it takes longer to make codes than their products save.
  constexpr int kLeastInputs = 8;
  return !part.is_depthwise && part.inputs >= kLeastInputs && matrix.scheme != nullptr &&
         matrix.part_count == 3 &&
         matrix.scheme->packed_format(matrix.format) == PackedFormat::affine &&
         is_packable(matrix.format.bits, matrix.format.group_size, matrix.columns);
}

PackedConv pack_conv(const Conv2dPart& part, ActivationFormat format) {
  const StoredMatrix& matrix = part.matrix;
  PackedConv conv;
  conv.format = format;
  conv.width = (part.inputs + kUnitCodes - 1) / kUnitCodes * kUnitCodes;
  conv.groups =
      static_cast<int>((part.columns + matrix.format.group_size - 1) / matrix.format.group_size);
  conv.rows = part.kernel;
  lay_out(part, conv);
  std::size_t units = 0;
  for (const PackedConv::Run& run : conv.runs) units += static_cast<std::size_t>(run.units);
  conv.panel_bytes = units * kPanelOutputs * kUnitCodes;
  const auto panels = static_cast<std::size_t>((part.outputs + kPanelOutputs - 1) / kPanelOutputs);
  conv.weights = allocate_floats(panels * conv.panel_bytes / sizeof(float));
  const std::size_t parameters =
      panels * static_cast<std::size_t>(conv.groups + conv.terms()) * kPanelOutputs;
  conv.parameters = allocate_floats(parameters);
  std::fill_n(conv.parameters.get(), parameters, 0.0F);
  const StoredCodes stored(matrix);
  write_weights(part, stored, conv);
  write_parameters(part, stored, conv);
  conv.scale = part.scale;
  conv.scale.resize(panels * kPanelOutputs, 1.0F);
  conv.bias = part.bias;
  conv.bias.resize(panels * kPanelOutputs, 0.0F);
  return conv;
}

}  // namespace quiver
