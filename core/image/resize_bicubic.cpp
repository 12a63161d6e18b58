// Antialiased bicubic resizing in fixed point.
#include "core/image/resize.hpp"

#include "core/image/resize_check.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace quiver {
namespace {

constexpr double kReach = 2.0;  // Of the kernel, in pixels of the larger of the two grids.
constexpr int kFraction = 22;   // Bits behind the point of a weight.
constexpr std::int32_t kHalf = 1 << (kFraction - 1);
constexpr std::size_t kLanes = 16;  // Rows that are summed side by side.
constexpr std::size_t kBlock = 480;

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * kA;
  return 0.0;
}

/// Which inputs an output is made of.
struct Taps {
  int first = 0;
  int count = 0;
  const std::int32_t* weights = nullptr;
};

/// The taps of every output along one axis.
class Kernel {
 public:
  Kernel(int from, int to) : outputs_(static_cast<std::size_t>(to)) {
    const double scale = static_cast<double>(from) / to;
    const double stretch = std::max(scale, 1.0);
    const double reach = kReach * stretch;
    stride_ = static_cast<std::size_t>(std::ceil(reach)) * 2 + 1;
    weights_.resize(stride_ * outputs_.size());
    std::vector<double> exact(stride_);
    for (int i = 0; i < to; ++i) {
      const double centre = (i + 0.5) * scale;
      const int first = std::max(static_cast<int>(std::trunc(centre - reach + 0.5)), 0);
      const int end = std::min(static_cast<int>(std::trunc(centre + reach + 0.5)), from);
      weigh(std::span(exact).first(static_cast<std::size_t>(end - first)), (first - centre + 0.5),
            1.0 / stretch);
      std::int32_t* to_weights = weights_.data() + stride_ * static_cast<std::size_t>(i);
      for (int t = 0; t < end - first; ++t) {
        const double scaled = exact[static_cast<std::size_t>(t)] * (1 << kFraction);
        to_weights[t] = static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
      }
      outputs_[static_cast<std::size_t>(i)] = {first, end - first, to_weights};
    }
  }

  const Taps& operator[](int output) const { return outputs_[static_cast<std::size_t>(output)]; }

 private:
  static void weigh(std::span<double> weights, double offset, double step) {
    double sum = 0.0;
    for (std::size_t t = 0; t < weights.size(); ++t) {
      weights[t] = cubic((static_cast<double>(t) + offset) * step);
      sum += weights[t];
    }
    for (double& weight : weights) weight /= sum;
  }

  std::vector<Taps> outputs_;
  std::vector<std::int32_t> weights_;
  std::size_t stride_ = 0;
};

// The same sums in the wider vectors of a processor that has them: integers, so the same bits.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
#define QUIVER_WIDE_CLONE [[gnu::target_clones("avx2", "default")]]
#else
#define QUIVER_WIDE_CLONE
#endif

/// to[i] = the sum over taps t of first[t * step + i] * weight t, for i below `count`.
///
/// Block by block, so that sums stay near; four taps at a time, so that they are seldom touched.
QUIVER_WIDE_CLONE void blend(const std::uint8_t* first, std::size_t step, const Taps& taps,
                             std::uint8_t* to, std::size_t count) {
  std::int32_t sums[kBlock];
  const std::int32_t* weights = taps.weights;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t size = std::min(kBlock, count - begin);
    const std::uint8_t* a = first + begin;
    for (std::size_t i = 0; i < size; ++i) sums[i] = kHalf;
    int t = 0;
    for (; t + 4 <= taps.count; t += 4, a += 4 * step) {
      const std::uint8_t* b = a + step;
      const std::uint8_t* c = b + step;
      const std::uint8_t* d = c + step;
      for (std::size_t i = 0; i < size; ++i) {
        sums[i] += a[i] * weights[t] + b[i] * weights[t + 1] + c[i] * weights[t + 2] +
                   d[i] * weights[t + 3];
      }
    }
    for (; t < taps.count; ++t, a += step) {
      for (std::size_t i = 0; i < size; ++i) sums[i] += a[i] * weights[t];
    }
    for (std::size_t i = 0; i < size; ++i) {
      to[begin + i] = static_cast<std::uint8_t>(std::clamp(sums[i] >> kFraction, 0, 255));
    }
  }
}

/// Columns of kLanes rows at a time, which are turned so that a row is a lane.
class ColumnPass {
 public:
  ColumnPass(const Picture& from, int width)
      : from_(from),
        kernel_(from.width, width),
        turned_(static_cast<std::size_t>(from.width) * 3 * kLanes),
        out_{width, from.height, {}} {
    out_.rgb.resize(picture_bytes(out_.size()));
  }

  Picture run() && {
    for (int y = 0; y < from_.height; y += static_cast<int>(kLanes)) {
      const std::size_t rows = std::min(kLanes, static_cast<std::size_t>(from_.height - y));
      turn(static_cast<std::size_t>(y), rows);
      for (int x = 0; x < out_.width; ++x) pixel(x, static_cast<std::size_t>(y), rows);
    }
    return std::move(out_);
  }

 private:
  void turn(std::size_t y, std::size_t rows) {
    const std::size_t row_bytes = static_cast<std::size_t>(from_.width) * 3;
    for (std::size_t row = 0; row < rows; ++row) {
      const std::uint8_t* bytes = from_.rgb.data() + (y + row) * row_bytes;
      for (std::size_t i = 0; i < row_bytes; ++i) turned_[i * kLanes + row] = bytes[i];
    }
  }

  void pixel(int x, std::size_t y, std::size_t rows) {
    constexpr std::size_t kPixel = 3 * kLanes;
    const Taps& taps = kernel_[x];
    std::array<std::uint8_t, kPixel> results;
    blend(turned_.data() + static_cast<std::size_t>(taps.first) * kPixel, kPixel, taps,
          results.data(), kPixel);
    const std::size_t row_bytes = static_cast<std::size_t>(out_.width) * 3;
    std::uint8_t* to = out_.rgb.data() + y * row_bytes + static_cast<std::size_t>(x) * 3;
    for (std::size_t row = 0; row < rows; ++row, to += row_bytes) {
      for (std::size_t c = 0; c < 3; ++c) to[c] = results[c * kLanes + row];
    }
  }

  const Picture& from_;
  Kernel kernel_;
  std::vector<std::uint8_t> turned_;
  Picture out_;
};

/// Rows: every output row is a sum of input rows.
Picture resize_rows(const Picture& from, int height) {
  const Kernel kernel(from.height, height);
  Picture out{from.width, height, {}};
  out.rgb.resize(picture_bytes(out.size()));
  const std::size_t row_bytes = static_cast<std::size_t>(from.width) * 3;
  for (int y = 0; y < height; ++y) {
    const Taps& taps = kernel[y];
    blend(from.rgb.data() + static_cast<std::size_t>(taps.first) * row_bytes, row_bytes, taps,
          out.rgb.data() + static_cast<std::size_t>(y) * row_bytes, row_bytes);
  }
  return out;
}

/// Pillow's choice since its version 13; before, columns came first always.
bool rows_come_first(PictureSize from, PictureSize to) {
  const std::int64_t fewer_rows = std::int64_t{from.height} - to.height;
  const std::int64_t fewer_columns = std::int64_t{from.width} - to.width;
  return fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
}

}  // namespace

Picture resize_bicubic(const Picture& picture, PictureSize size) {
  require_whole(picture);
  image::require_makeable(size);
  if (size == picture.size()) return picture;
  if (size.width == picture.width) return resize_rows(picture, size.height);
  if (size.height == picture.height) return ColumnPass(picture, size.width).run();
  // Bytes are rounded in between, so the order shows in the result. What lies between is never
  // larger than the picture or the result.
  if (rows_come_first(picture.size(), size)) {
    return ColumnPass(resize_rows(picture, size.height), size.width).run();
  }
  return resize_rows(ColumnPass(picture, size.width).run(), size.height);
}

}  // namespace quiver
