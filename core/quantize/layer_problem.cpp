// The layers of a model as something to allocate bits among, and the way back to formats.
#include "core/quantize/layer_problem.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <quiver/error.hpp>

#include "core/quantize/static_scores.hpp"

namespace quiver {

LayerProblem::LayerProblem(std::span<const QuantizableLayer> layers,
                           std::span<const WidthDivergences> kl, const FixedSize& fixed,
                           const ConvertOptions& options, const QuantScheme& scheme,
                           int uniform_bits)
    : layers_(layers), options_(options), scheme_(scheme), uniform_bits_(uniform_bits) {
  SensitivityTable table;
  table.fixed_bytes = fixed.bytes;
  table.fixed_parameters = fixed.parameters;
  table.uniform_bits = uniform_bits;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const QuantizableLayer& layer = layers_[i];
    const auto parameters = static_cast<std::uint64_t>(layer.parameters());
    if (is_fixed(layer)) {
      table.fixed_bytes += bytes(i, fixed_format(layer, options_.bits.back()));
      table.fixed_parameters += parameters;
      continue;
    }
    SensitivityLayer row{layer.name, layer.role, layer.block, parameters, layer.group_size, {}, {}};
    if (i < kl.size()) row.kl = kl[i];
    for (const int bits : options_.bits) row.bytes[bits] = bytes(i, {bits, layer.group_size});
    table.layers.push_back(std::move(row));
    units_.push_back(i);
  }
  if (table.layers.empty()) {
    throw Error(ErrorCode::bad_input,
                "nothing can be quantized: no layer that is used has columns that a group divides",
                "convert", "use the model as it is");
  }
  if (options_.is_optiq) {
    // That package visits modules from the last to the first; which of equal layers comes first
    // decides its ties.
    std::ranges::reverse(table.layers);
    std::ranges::reverse(units_);
  }
  problem_ = allocation_problem(table, {options_.bits, options_.group_size});
  if (options_.method == ConvertMethod::by_rules) {
    options_.is_optiq ? set_static_scores_by_name(problem_) : set_static_scores(problem_);
  } else if (!options_.is_optiq) {
    set_losses(problem_, table);
  }
}

bool LayerProblem::is_fixed(const QuantizableLayer& layer) const {
  const bool is_unused = options_.method == ConvertMethod::measured && layer.phase < 0;
  if (layer.group_size == 0 || is_unused) return true;
  if (!options_.is_optiq) return false;
  // That package measures modules of two dimensions alone where the full weights are the reference;
  // its rules and its stand-in know stacks too.
  const bool is_passed_over =
      layer.experts != 0 && uniform_bits_ == 0 && options_.method == ConvertMethod::measured;
  return layer.role == Role::embedding || is_passed_over;
}

LayerFormat LayerProblem::fixed_format(const QuantizableLayer& layer, int widest) const {
  if (layer.group_size == 0 || widest == kKeepBits) return {};
  return {widest, layer.group_size};
}

std::vector<std::string> LayerProblem::warnings() const {
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

std::uint64_t LayerProblem::bytes(std::size_t layer, const LayerFormat& format) const {
  const StoredMatrix& matrix = *layers_[layer].matrix;
  if (format.bits == kKeepBits) return matrix.size_bytes();
  return encoded_bytes(scheme_, {format.bits, format.group_size}, matrix.rows, matrix.columns,
                       matrix.dtype);
}

std::vector<LayerFormat> LayerProblem::formats(const std::vector<std::size_t>& choices,
                                               int widest) const {
  std::vector<LayerFormat> formats;
  for (const QuantizableLayer& layer : layers_) formats.push_back(fixed_format(layer, widest));
  for (std::size_t u = 0; u < units_.size(); ++u) {
    const AllocationChoice& choice = problem_.units[u].choices[choices[u]];
    formats[units_[u]] =
        choice.bits == kKeepBits ? LayerFormat{} : LayerFormat{choice.bits, choice.group_size};
  }
  return formats;
}

}  // namespace quiver
