// Which width each layer's keys and values get.
#include "core/quantize/allocate_kv.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <queue>
#include <quiver/error.hpp>
#include <tuple>

#include "core/quantize/allocation.hpp"

namespace quiver {
namespace {

/// A layer, or the keys or values of one: `share` of its numbers.
AllocationUnit unit_of(const KvLayerSensitivity& layer, const char* part,
                       const WidthDivergences& kl, unsigned share) {
  AllocationUnit unit{fmt::format("{}{}", layer.name, part),
                      Role::attention,
                      layer.block,
                      layer.page_numbers / share,
                      {}};
  for (const auto& [bits, value] : kl) {
    unit.choices.push_back({bits, 0, layer.page_bytes.at(bits) / share, value});
  }
  return unit;
}

/// A unit for each layer, or two where its keys and values were measured apart.
AllocationProblem problem_of(std::span<const KvLayerSensitivity> layers) {
  AllocationProblem problem;
  const bool is_apart = !layers.empty() && !layers.front().key_kl.empty();
  for (const KvLayerSensitivity& layer : layers) {
    if (is_apart) {
      problem.units.push_back(unit_of(layer, ".k", layer.key_kl, 2));
      problem.units.push_back(unit_of(layer, ".v", layer.value_kl, 2));
    } else {
      problem.units.push_back(unit_of(layer, "", layer.kl, 1));
    }
  }
  return problem;
}

/// `problem` has one unit a layer, or two.
KvAllocation allocation_of(std::size_t layers, const AllocationProblem& problem,
                           const Allocation& chosen) {
  const auto bits = [&](std::size_t u) { return problem.units[u].choices[chosen.choices[u]].bits; };
  const std::size_t parts = problem.units.size() / layers;
  KvAllocation result;
  for (std::size_t i = 0; i < layers; ++i) {
    result.layers.push_back({bits(i * parts), bits(i * parts + parts - 1)});
  }
  result.mean_bits = chosen.bpw_linear;
  result.true_bits = chosen.bpw_true;
  result.bytes_per_token = static_cast<double>(chosen.bytes) / KvStrategy::kTokens;
  result.kl = chosen.kl;
  return result;
}

/// With every unit at its narrowest width.
Allocation narrowest(const AllocationProblem& problem) {
  return evaluate(problem, std::vector<std::size_t>(problem.units.size()));
}

}  // namespace

KvAllocation allocate_kv(std::span<const KvLayerSensitivity> layers, double target_bits) {
  const AllocationProblem problem = problem_of(layers);
  validate(problem);
  const Allocation least = narrowest(problem);
  if (target_bits >= least.bpw_true) {
    return allocation_of(layers.size(), problem, allocate_exact(problem, {}, target_bits));
  }
  if (target_bits < least.bpw_linear) {
    throw Error(ErrorCode::usage,
                fmt::format("the target of {:g} bits is below the narrowest width", target_bits),
                "target", "ask for more, or measure narrower widths");
  }
  KvAllocation result = allocation_of(layers.size(), problem, least);
  result.warning = fmt::format(
      "with scales and biases the narrowest width takes {:.4g} bits a number, above "
      "the target of {:g}: all layers get it",
      least.bpw_true, target_bits);
  return result;
}

KvAllocation allocate_kv_greedy(std::span<const KvLayerSensitivity> layers, double target_bits) {
  AllocationProblem problem;
  for (const KvLayerSensitivity& layer : layers) {
    problem.units.push_back(unit_of(layer, "", layer.kl, 1));
    if (problem.units.back().choices.size() != problem.units.front().choices.size()) {
      throw Error(ErrorCode::bad_input, "the layer was measured at other widths than the first",
                  layer.name, "measure all layers at the same widths");
    }
  }
  validate(problem);
  std::vector<std::size_t> choices(layers.size());
  // Gain a bit, negated so that the largest comes first; the layer tells equal ones apart.
  using Step = std::tuple<double, int, std::size_t>;
  std::priority_queue<Step, std::vector<Step>, std::greater<>> steps;
  const auto width = [&](std::size_t u, std::size_t step) -> const AllocationChoice& {
    return problem.units[u].choices[choices[u] + step];
  };
  const auto push = [&](std::size_t u) {
    if (choices[u] + 1 == problem.units[u].choices.size()) return;
    const double gain = width(u, 0).kl - width(u, 1).kl;
    steps.emplace(-gain / (width(u, 1).bits - width(u, 0).bits), layers[u].block, u);
  };
  int bits = 0;
  for (std::size_t u = 0; u < layers.size(); ++u) {
    bits += width(u, 0).bits;
    push(u);
  }
  const auto count = static_cast<double>(layers.size());
  while (!steps.empty() && bits / count < target_bits) {
    const std::size_t u = std::get<2>(steps.top());
    steps.pop();
    bits += width(u, 1).bits - width(u, 0).bits;
    ++choices[u];
    push(u);
  }
  KvAllocation result = allocation_of(layers.size(), problem, evaluate(problem, choices));
  result.mean_bits = bits / count;
  return result;
}

nlohmann::json kv_config_record(std::span<const KvLayerSensitivity> layers,
                                const KvAllocation& allocation, int group_size) {
  nlohmann::json list = nlohmann::json::array();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const KvLayerBits& bits = allocation.layers[i];
    nlohmann::json entry = {{"layer_idx", layers[i].block},
                            {"bits", std::max(bits.key_bits, bits.value_bits)},
                            {"group_size", group_size}};
    if (bits.key_bits != bits.value_bits) {
      entry["k_bits"] = bits.key_bits;
      entry["v_bits"] = bits.value_bits;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace quiver
