// Sensitivities from a layer's place and purpose alone.
#include "core/quantize/static_scores.hpp"

#include "core/quantize/layer_names.hpp"

#include <algorithm>

namespace quiver {
namespace {

/// What the formula asks about a unit.
struct Place {
  int block = -1;
  bool is_end = false;  ///< An embedding or a head.
  bool is_attention = false;
  bool is_router = false;
  bool is_expert = false;
};

Place place_by_role(const AllocationUnit& unit) {
  return {.block = unit.block,
          .is_end = unit.role == Role::embedding || unit.role == Role::head,
          .is_attention = unit.role == Role::attention,
          .is_router = unit.role == Role::router,
          .is_expert = unit.role == Role::expert};
}

Place place_by_name(const AllocationUnit& unit) {
  const std::string& name = unit.name;
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  return {.block = block_in_name(name),
          .is_end = has("embed") || has("lm_head"),
          .is_attention = has("self_attn") || has(".attn"),
          // Modules are asked, of which none is called gate.weight or has parts: "mlp.gate" is no
          // router here, though the allocator protects it as one.
          .is_router = has("router") || has("gate.weight") || has(".gate."),
          .is_expert = has("experts") || has("switch")};
}

double priority(const Place& place, int blocks) {
  if (place.is_end) return 1;
  double value = 0.30;
  if (place.block >= 0) {
    const int edge = std::min(place.block, blocks - 1 - place.block);
    const double depth = edge / std::max(blocks / 2.0, 1.0);
    value = edge == 0 ? 0.90 : edge == 1 ? 0.65 : 0.30 + 0.15 * (1 - depth);
  }
  if (place.is_attention) value += 0.30;
  if (place.is_router) value += 0.40;
  if (place.is_expert) value -= 0.10;
  return std::clamp(value, 0.05, 1.0);
}

template <class PlaceOf>
void set_scores(AllocationProblem& problem, const PlaceOf& place_of) {
  int blocks = 0;
  for (const AllocationUnit& unit : problem.units) {
    blocks = std::max(blocks, place_of(unit).block + 1);
  }
  for (AllocationUnit& unit : problem.units) {
    if (unit.choices.empty()) continue;
    const double value = priority(place_of(unit), blocks);
    const auto bits = [](const AllocationChoice& choice) { return choice.bits; };
    const auto [low, high] = std::ranges::minmax(unit.choices, {}, bits);
    for (AllocationChoice& choice : unit.choices) {
      choice.kl =
          high.bits == low.bits ? 0 : value * (high.bits - choice.bits) / (high.bits - low.bits);
    }
  }
}

}  // namespace

void set_static_scores(AllocationProblem& problem) {
  set_scores(problem, place_by_role);
}

void set_static_scores_by_name(AllocationProblem& problem) {
  set_scores(problem, place_by_name);
}

}  // namespace quiver
