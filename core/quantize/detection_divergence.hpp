// How far a detector's predictions move when its weights change.
#pragma once

#include <quiver/quant_scheme.hpp>
#include <span>

#include "core/vision/detections.hpp"

namespace quiver {

/// Every class in every cell is a coin with the probability sigmoid(logit). The result is the mean
/// of KL(reference || other) over all of them, a cell's weight being its best score in the
/// reference, so that background does not drown objects; plus the mean of 1 - overlap of the boxes
/// over cells whose best score is above 0.05. Computed from logits without a logarithm of 0.
/// REQUIRES: both have the same grids and classes. [any-thread]
double detection_divergence(const RawDetections& reference, const RawDetections& other);

/// The reference package's measure of a quantized kernel, which looks at weights alone:
/// mean((w - q)^2) / max(mean(w^2), 1e-10) * |w|. [any-thread]
double weight_damage(std::span<const float> weights, std::span<const float> quantized);

}  // namespace quiver
