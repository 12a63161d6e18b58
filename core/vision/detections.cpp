// What a detector predicts for a picture, and the boxes that come of it.
#include "core/vision/detections.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace quiver {
namespace {

struct Candidate {
  float logit;
  int cell;
  int class_id;

  bool operator<(const Candidate& other) const {
    if (logit != other.logit) return logit > other.logit;
    return cell != other.cell ? cell < other.cell : class_id < other.class_id;
  }
};

/// The first `most` in order.
void keep_first(std::vector<Candidate>& candidates, int most) {
  const auto count = std::min(candidates.size(), static_cast<std::size_t>(std::max(most, 0)));
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count),
                    candidates.end());
  candidates.resize(count);
}

/// The largest of some logits, numbers only; -infinity where there are none. Several at a time:
/// this sees every class of every cell.
float largest(const float* logits, int count) {
  constexpr int kChains = 16;
  std::array<float, kChains> tops;
  tops.fill(-std::numeric_limits<float>::infinity());
  int c = 0;
  for (; c + kChains <= count; c += kChains) {
    for (std::size_t i = 0; i < kChains; ++i) {
      const float value = logits[static_cast<std::size_t>(c) + i];
      tops[i] = value > tops[i] ? value : tops[i];
    }
  }
  for (; c < count; ++c) tops[0] = logits[c] > tops[0] ? logits[c] : tops[0];
  return *std::max_element(tops.begin(), tops.end());
}

}  // namespace

float sigmoid(float x) {
  return 1.0F / (1.0F + std::exp(-x));
}

std::vector<Box> decode_boxes(const RawDetections& raw) {
  std::vector<Box> boxes;
  boxes.reserve(static_cast<std::size_t>(raw.cells()));
  const float* d = raw.distances.data();
  for (const DetectionGrid& grid : raw.grids) {
    const auto stride = static_cast<float>(grid.stride);
    for (int y = 0; y < grid.height; ++y) {
      for (int x = 0; x < grid.width; ++x, d += 4) {
        const float centre_x = static_cast<float>(x) + 0.5F;
        const float centre_y = static_cast<float>(y) + 0.5F;
        boxes.push_back({(centre_x - d[0]) * stride, (centre_y - d[1]) * stride,
                         (centre_x + d[2]) * stride, (centre_y + d[3]) * stride});
      }
    }
  }
  return boxes;
}

std::vector<Detection> best_detections(const RawDetections& raw, int most) {
  most = std::min(most, raw.cells());
  const auto classes = static_cast<std::size_t>(raw.classes);
  std::vector<Candidate> cells;
  for (int cell = 0; cell < raw.cells(); ++cell) {
    const float* logits = raw.logits.data() + static_cast<std::size_t>(cell) * classes;
    const float top = largest(logits, raw.classes);
    const float* first = std::find(logits, logits + classes, top);
    if (first != logits + classes) cells.push_back({top, cell, static_cast<int>(first - logits)});
  }
  keep_first(cells, most);
  std::vector<Candidate> candidates;
  for (const Candidate& cell : cells) {
    const float* logits = raw.logits.data() + static_cast<std::size_t>(cell.cell) * classes;
    for (int c = 0; c < raw.classes; ++c) {
      if (!std::isnan(logits[c])) candidates.push_back({logits[c], cell.cell, c});
    }
  }
  keep_first(candidates, most);
  const std::vector<Box> boxes = decode_boxes(raw);
  std::vector<Detection> detections;
  for (const Candidate& candidate : candidates) {
    detections.push_back({boxes[static_cast<std::size_t>(candidate.cell)], sigmoid(candidate.logit),
                          candidate.class_id, candidate.cell});
  }
  return detections;
}

}  // namespace quiver
