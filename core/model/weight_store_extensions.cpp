// Parts that models take through extensions: of recurrences, of experts, of towers.
#include <fmt/format.h>

#include <quiver/error.hpp>

#include "core/model/checkpoint.hpp"
#include "core/model/weight_store.hpp"

namespace quiver {
namespace {

// Sizes beyond these are lies, and products of two of them must not overflow.
constexpr int kMostSize = 1 << 16;

void require_size(int size, std::string_view name) {
  if (size >= 1 && size <= kMostSize) return;
  throw Error(ErrorCode::bad_input, fmt::format("config.json gives it the size {}", size),
              std::string(name), "correct config.json");
}

}  // namespace

DeltaRule WeightStore::delta_rule(std::string_view name, const DeltaRuleSpec& spec) {
  for (const int size : {spec.key_heads, spec.value_heads, spec.key_dim, spec.value_dim}) {
    require_size(size, name);
  }
  if (spec.value_heads % spec.key_heads != 0) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{} value heads are no multiple of {} key heads", spec.value_heads,
                            spec.key_heads),
                std::string(name), "correct config.json");
  }
  DeltaRulePart part;
  part.name = name;
  part.block = block_;
  part.spec = spec;
  part.a_log = vector(part.name + ".A_log", spec.value_heads, false);
  part.dt_bias = vector(part.name + ".dt_bias", spec.value_heads, false);
  delta_rules_.push_back(std::move(part));
  return {static_cast<std::int32_t>(delta_rules_.size() - 1)};
}

ExpertLinear WeightStore::expert_linear(std::string_view name, int outputs, int inputs,
                                        const ExpertLinearSpec& spec) {
  if (spec.experts < 1 || spec.experts_per_row < 1 || spec.experts_per_row > spec.experts) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("config.json asks for {} of {} experts", spec.experts_per_row, spec.experts),
        std::string(name), "correct config.json");
  }
  LinearPart part;
  part.name = name;
  part.role = spec.role;
  part.block = block_;
  part.experts = spec.experts;
  part.experts_per_row = spec.experts_per_row;
  part.matrix = matrix(part.name, std::int64_t{outputs} * spec.experts, inputs, spec.experts);
  linears_.push_back(std::move(part));
  return {static_cast<std::int32_t>(linears_.size() - 1)};
}

Linear WeightStore::patch_embedding(std::string_view name, int outputs, const PatchShape& patch) {
  for (const int size : {outputs, patch.colours, patch.frames, patch.side}) {
    require_size(size, name);
  }
  LinearPart part;
  part.name = name;
  part.role = Role::tower;
  part.block = block_;
  const std::int64_t pixels = std::int64_t{patch.frames} * patch.side * patch.side;
  part.matrix.rows = outputs;
  part.matrix.columns = pixels * patch.colours;
  if (checkpoint_ != nullptr) {
    const std::string weight = part.name + ".weight";
    const std::vector<float> stored = vector(weight, outputs * part.matrix.columns, false);
    const auto& shape = checkpoint_->find(weight)->shape;
    const bool is_last = shape.size() == 5 && shape[1] == patch.frames &&
                         shape[4] == patch.colours && shape[1] != patch.colours;
    auto values = std::make_unique<std::vector<float>>(stored);
    if (is_last) {
      // [outputs, pixels, colours] becomes [outputs, colours, pixels].
      for (std::size_t i = 0; i < stored.size(); ++i) {
        const auto colours = static_cast<std::size_t>(patch.colours);
        const auto per_colour = static_cast<std::size_t>(pixels);
        const std::size_t output = i / (per_colour * colours);
        const std::size_t pixel = i / colours % per_colour;
        (*values)[(output * colours + i % colours) * per_colour + pixel] = stored[i];
      }
    }
    part.matrix.dtype = DType::f32;
    part.matrix.dense = std::as_bytes(std::span(*values));
    reordered_.push_back(std::move(values));
  }
  part.has_bias = true;
  part.bias = vector(part.name + ".bias", outputs, false);
  linears_.push_back(std::move(part));
  return {static_cast<std::int32_t>(linears_.size() - 1)};
}

LayerNorm WeightStore::layer_norm(std::string_view name, int width, float epsilon) {
  LayerNormPart part{std::string(name), epsilon, {}, {}, width};
  part.weight = vector(part.name + ".weight", width, false);
  part.bias = vector(part.name + ".bias", width, false);
  layer_norms_.push_back(std::move(part));
  return {static_cast<std::int32_t>(layer_norms_.size() - 1)};
}

PositionTable WeightStore::position_table(std::string_view name, int side, int width) {
  require_size(side, name);
  require_size(width, name);
  PositionTablePart part{std::string(name), side, width, {}};
  part.values = vector(part.name + ".weight", std::int64_t{side} * side * width, false);
  position_tables_.push_back(std::move(part));
  return {static_cast<std::int32_t>(position_tables_.size() - 1)};
}

const DeltaRulePart& WeightStore::operator[](DeltaRule handle) const {
  return delta_rules_.at(static_cast<std::size_t>(handle.id));
}
const LinearPart& WeightStore::operator[](ExpertLinear handle) const {
  return linears_.at(static_cast<std::size_t>(handle.id));
}

const LayerNormPart& WeightStore::operator[](LayerNorm handle) const {
  return layer_norms_.at(static_cast<std::size_t>(handle.id));
}
const PositionTablePart& WeightStore::operator[](PositionTable handle) const {
  return position_tables_.at(static_cast<std::size_t>(handle.id));
}

}  // namespace quiver
