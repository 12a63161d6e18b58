// Causal convolutions of ForwardOps: rows of each sequence behind the last inputs that it keeps.
#include <algorithm>
#include <vector>

#include "core/kernels/kernel_table.hpp"
#include "core/ops/activation.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

// A task's part: weights that stay in the first-level cache, rows that are worth a hand-over.
constexpr int kTaskChannels = 1024;
constexpr int kTaskRows = 32;

struct Task {
  const Segment* segment;
  int first_row;  // of the segment
  int first_channel;
};

}  // namespace

Tensor ForwardOps::causal_conv(Tensor x, CausalConv conv, const CausalConvUse& use) {
  const CausalConvPart& part = weights_[conv];
  if (x.width != part.channels) {
    throw Error(
        ErrorCode::internal,
        fmt::format("causal_conv of {} channels on a tensor of width {}", part.channels, x.width),
        part.name, "report this to the architecture's author");
  }
  const Tensor result = make(data(x, "causal_conv").rows, x.width);
  const Data& in = data(x, "causal_conv");
  const Data& out = data(result, "causal_conv");
  std::vector<Task> tasks;
  for (const Segment& segment : batch_.segments) {
    for (int first_row = 0; first_row < segment.rows; first_row += kTaskRows) {
      for (int channel = 0; channel < part.channels; channel += kTaskChannels) {
        tasks.push_back({&segment, first_row, channel});
      }
    }
  }
  const auto channels = static_cast<std::size_t>(part.channels);
  const int past = part.kernel - 1;
  const auto convolve = [&](int index, int) {
    const Task& task = tasks[static_cast<std::size_t>(index)];
    const Segment& segment = *task.segment;
    const InputWindow& window = segment.sequence->window(conv);
    const auto begin = static_cast<std::size_t>(task.first_channel);
    const auto count = std::min<std::size_t>(kTaskChannels, channels - begin);
    const float* bias = part.bias.empty() ? nullptr : part.bias.data() + begin;
    const auto input = [&](int r) {  // a row of this segment, or of the window where negative
      return (r >= 0 ? row(in, segment.first_row + r) : window.row(past + r).data()) + begin;
    };
    std::vector<const float*> taps(static_cast<std::size_t>(part.kernel));
    const int end = std::min(task.first_row + kTaskRows, segment.rows);
    for (int r = task.first_row; r < end; ++r) {
      for (int tap = 0; tap <= past; ++tap) {
        taps[static_cast<std::size_t>(tap)] = input(r - past + tap);
      }
      float* target = row(out, segment.first_row + r) + begin;
      kernels().elements->sum_taps(taps.data(), part.weight.data() + begin, channels, bias,
                                   part.kernel, count, target);
      activate_values(use.activation, target, count);
      if (!use.residual) continue;
      const float* current = input(r);
      for (std::size_t c = 0; c < count; ++c) target[c] += current[c];
    }
  };
  const std::size_t work =
      static_cast<std::size_t>(in.rows) * channels * static_cast<std::size_t>(part.kernel);
  if (work >= kWorthSharing) {
    threads_.run(static_cast<int>(tasks.size()), convolve);
  } else {
    for (int index = 0; index < static_cast<int>(tasks.size()); ++index) convolve(index, 0);
  }
  for (const Segment& segment : batch_.segments) {
    segment.sequence->record(
        conv, {row(in, segment.first_row), static_cast<std::size_t>(segment.rows) * channels},
        segment.form == RowForm::prompt);
  }
  return result;
}

}  // namespace quiver
