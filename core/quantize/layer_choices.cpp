// What the layers of a model can become, as an allocation problem, and back.
#include "core/quantize/layer_choices.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/quantize/encoded_matrix.hpp"
#include "core/quantize/static_scores.hpp"

namespace quiver {

AllocationProblem LayerChoices::problem(std::span<const WidthDivergences> kl, int loss_bits) {
  const SensitivityTable all = table(kl, loss_bits);
  SensitivityTable chosen = all;
  chosen.layers.clear();
  units_.clear();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (!is_fixed(i)) {
      chosen.layers.push_back(all.layers[i]);
      units_.push_back(i);
      continue;
    }
    chosen.fixed_bytes += bytes(i, fixed_format(i, options_.bits.back()).bits);
    chosen.fixed_parameters += static_cast<std::uint64_t>(layers_[i].parameters());
  }
  if (options_.is_optiq) {
    // That package visits modules from the last to the first; which of equal layers comes first
    // decides its ties.
    std::ranges::reverse(chosen.layers);
    std::ranges::reverse(units_);
  }
  AllocationProblem problem = allocation_problem(chosen, {options_.bits, options_.group_size});
  if (options_.method == ConvertMethod::by_rules) {
    options_.is_optiq ? set_static_scores_by_name(problem) : set_static_scores(problem);
  } else if (!options_.is_optiq) {
    set_losses(problem, chosen);
  }
  return problem;
}

std::vector<LayerFormat> LayerChoices::formats(const AllocationProblem& problem,
                                               const std::vector<std::size_t>& choices,
                                               int widest) const {
  std::vector<LayerFormat> formats;
  for (std::size_t i = 0; i < layers_.size(); ++i) formats.push_back(fixed_format(i, widest));
  for (std::size_t u = 0; u < units_.size(); ++u) {
    const AllocationChoice& choice = problem.units[u].choices[choices[u]];
    formats[units_[u]] =
        choice.bits == kKeepBits ? LayerFormat{} : LayerFormat{choice.bits, choice.group_size};
  }
  return formats;
}

std::vector<std::string> LayerChoices::warnings() const {
  std::vector<std::string> warnings;
  for (const QuantizableLayer& layer : layers_) {
    if (layer.group_size == options_.group_size) continue;
    warnings.push_back(layer.group_size == 0
                           ? fmt::format("{} stays as it is: no group size divides its {} columns",
                                         layer.name, layer.matrix->columns)
                           : fmt::format("{} has groups of {}: {} does not divide its {} columns",
                                         layer.name, layer.group_size, options_.group_size,
                                         layer.matrix->columns));
  }
  return warnings;
}

std::uint64_t LayerChoices::bytes(std::size_t layer, int bits) const {
  const QuantizableLayer& it = layers_[layer];
  if (bits == kKeepBits) return it.matrix->size_bytes();
  return encoded_bytes(scheme_, {bits, it.group_size}, it.matrix->rows, it.matrix->columns,
                       it.matrix->dtype);
}

/// The candidates of all layers, as they would be written.
SensitivityTable LayerChoices::table(std::span<const WidthDivergences> kl, int loss_bits) const {
  SensitivityTable table;
  table.fixed_bytes = fixed_.bytes;
  table.fixed_parameters = fixed_.parameters;
  table.uniform_bits = loss_bits;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const QuantizableLayer& layer = layers_[i];
    SensitivityLayer row{
        layer.name,       layer.role, layer.block, static_cast<std::uint64_t>(layer.parameters()),
        layer.group_size, {},         {}};
    if (i < kl.size()) row.kl = kl[i];
    for (const int bits : options_.bits) row.bytes[bits] = bytes(i, bits);
    table.layers.push_back(std::move(row));
  }
  return table;
}

bool LayerChoices::is_fixed(std::size_t layer) const {
  const QuantizableLayer& it = layers_[layer];
  return it.group_size == 0 || (options_.method == ConvertMethod::measured && it.phase < 0) ||
         (options_.is_optiq && it.role == Role::embedding);
}

LayerFormat LayerChoices::fixed_format(std::size_t layer, int widest) const {
  const QuantizableLayer& it = layers_[layer];
  if (it.group_size == 0 || widest == kKeepBits) return {};
  return {widest, it.group_size};
}

}  // namespace quiver
