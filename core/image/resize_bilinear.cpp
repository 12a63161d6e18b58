// Bilinear resizing in fixed point.
#include "core/image/resize.hpp"

#include "core/image/resize_check.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace quiver {
namespace {

constexpr float kOne = 2048.0F;  // What weights are multiples of, as its inverse.

/// The two inputs of an output, and their weights.
struct Pair {
  int first = 0;
  int second = 0;
  std::int32_t first_weight = 0;
  std::int32_t second_weight = 0;
};

std::int32_t fixed(float weight) {
  return static_cast<std::int32_t>(std::lrint(weight * kOne));
}

/// The pairs along one axis. At its ends the outermost input is taken twice; `whole_ends` gives it
/// the full weight at once instead, which rounds differently.
std::vector<Pair> pairs(int from, int to, bool whole_ends) {
  std::vector<Pair> all(static_cast<std::size_t>(to));
  const double scale = 1.0 / (static_cast<double>(to) / from);
  for (int i = 0; i < to; ++i) {
    const auto place = static_cast<float>((i + 0.5) * scale - 0.5);
    const int first = static_cast<int>(std::floor(place));
    float part = place - static_cast<float>(first);
    if (whole_ends && (first < 0 || first >= from - 1)) part = 0.0F;
    all[static_cast<std::size_t>(i)] = {std::clamp(first, 0, from - 1),
                                        std::clamp(first + 1, 0, from - 1), fixed(1.0F - part),
                                        fixed(part)};
  }
  return all;
}

/// One row of the input at the output's width, in 2^-7.
void spread(const std::uint8_t* row, const std::vector<Pair>& columns, std::int32_t* to) {
  for (const Pair& pair : columns) {
    const std::uint8_t* first = row + std::ptrdiff_t{pair.first} * 3;
    const std::uint8_t* second = row + std::ptrdiff_t{pair.second} * 3;
    for (int c = 0; c < 3; ++c) {
      *to++ = (first[c] * pair.first_weight + second[c] * pair.second_weight) >> 4;
    }
  }
}

/// The two spread rows that the output row of the moment lies between; rows come in rising order,
/// so one of the two is mostly there already.
class RowPair {
 public:
  RowPair(const Picture& from, const std::vector<Pair>& columns)
      : from_(from), columns_(columns), buffers_(2 * columns.size() * 3) {}

  const std::int32_t* row(int y, int keep) {
    for (int slot = 0; slot < 2; ++slot) {
      if (held_[slot] == y) return buffer(slot);
    }
    const int slot = held_[0] == keep ? 1 : 0;
    held_[slot] = y;
    spread(from_.rgb.data() + std::ptrdiff_t{y} * from_.width * 3, columns_, buffer(slot));
    return buffer(slot);
  }

 private:
  std::int32_t* buffer(int slot) {
    return buffers_.data() + static_cast<std::size_t>(slot) * columns_.size() * 3;
  }

  const Picture& from_;
  const std::vector<Pair>& columns_;
  std::vector<std::int32_t> buffers_;
  int held_[2] = {-1, -1};
};

}  // namespace

Picture resize_bilinear(const Picture& picture, PictureSize size) {
  require_whole(picture);
  image::require_makeable(size);
  if (size == picture.size()) return picture;
  const std::vector<Pair> columns = pairs(picture.width, size.width, true);
  const std::vector<Pair> rows = pairs(picture.height, size.height, false);
  Picture out{size.width, size.height, {}};
  out.rgb.resize(picture_bytes(size));
  const std::size_t row_bytes = static_cast<std::size_t>(size.width) * 3;
  std::uint8_t* to = out.rgb.data();
  RowPair spread_rows(picture, columns);
  for (const Pair& pair : rows) {
    const std::int32_t* first = spread_rows.row(pair.first, pair.second);
    const std::int32_t* second = spread_rows.row(pair.second, pair.first);
    for (std::size_t i = 0; i < row_bytes; ++i) {
      const std::int32_t upper = (first[i] * pair.first_weight) >> 16;
      const std::int32_t lower = (second[i] * pair.second_weight) >> 16;
      to[i] = static_cast<std::uint8_t>((upper + lower + 2) >> 2);
    }
    to += row_bytes;
  }
  return out;
}

}  // namespace quiver
