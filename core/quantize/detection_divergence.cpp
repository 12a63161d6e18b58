// How far a detector's predictions move when its weights change.
#include "core/quantize/detection_divergence.hpp"

#include <algorithm>
#include <cmath>

namespace quiver {
namespace {

constexpr double kObjectScore = 0.05;

/// log(1 + e^x)
double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

double coin_divergence(double z, double other) {
  const double p = 1 / (1 + std::exp(-z));
  // log p = -softplus(-z), log(1 - p) = -softplus(z)
  return p * (softplus(-other) - softplus(-z)) + (1 - p) * (softplus(other) - softplus(z));
}

double overlap_of(const Box& a, const Box& b) {
  const auto area = [](const Box& box) {
    return std::max(0.0, double{box.x2} - box.x1) * std::max(0.0, double{box.y2} - box.y1);
  };
  const Box common{std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2),
                   std::min(a.y2, b.y2)};
  const double shared = area(common);
  const double all = area(a) + area(b) - shared;
  return all > 0 ? shared / all : 0;
}

}  // namespace

double detection_divergence(const RawDetections& reference, const RawDetections& other) {
  const auto classes = static_cast<std::size_t>(reference.classes);
  const std::vector<Box> boxes = decode_boxes(reference);
  const std::vector<Box> moved = decode_boxes(other);
  double sum = 0;
  double weights = 0;
  double distance = 0;
  int objects = 0;
  for (std::size_t cell = 0; cell < boxes.size(); ++cell) {
    const float* z = reference.logits.data() + cell * classes;
    const float* changed = other.logits.data() + cell * classes;
    const double weight = 1 / (1 + std::exp(-double{*std::max_element(z, z + classes)}));
    double cell_sum = 0;
    for (std::size_t c = 0; c < classes; ++c) cell_sum += coin_divergence(z[c], changed[c]);
    sum += weight * cell_sum;
    weights += weight * static_cast<double>(classes);
    if (weight <= kObjectScore) continue;
    distance += 1 - overlap_of(boxes[cell], moved[cell]);
    ++objects;
  }
  return (weights > 0 ? sum / weights : 0) + (objects > 0 ? distance / objects : 0);
}

double weight_damage(std::span<const float> weights, std::span<const float> quantized) {
  double error = 0;
  double square = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double difference = double{weights[i]} - quantized[i];
    error += difference * difference;
    square += double{weights[i]} * weights[i];
  }
  const auto count = static_cast<double>(std::max<std::size_t>(weights.size(), 1));
  return error / count / std::max(square / count, 1e-10) * std::sqrt(square);
}

}  // namespace quiver
