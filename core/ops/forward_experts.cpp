// Experts of ForwardOps: rows are gathered by the expert that they take, and its matrices read
// once.
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "core/kernels/kernel_table.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

/// One row's experts, of falling weight.
struct Choice {
  int expert;
  float weight;
};

void choose(const float* logits, int experts, const RoutingSpec& routing,
            std::vector<Choice>& choices) {
  const float top = *std::max_element(logits, logits + experts);
  std::vector<float> weights(at(experts));
  double total = 0;
  for (int e = 0; e < experts; ++e) total += weights[at(e)] = std::exp(logits[e] - top);
  std::vector<int> order(at(experts));
  std::iota(order.begin(), order.end(), 0);
  const auto last = order.begin() + routing.experts_per_row;
  // What is not a number must not break the order that sorting relies on.
  const auto is_before = [&](int a, int b) {
    const float x = std::isnan(logits[a]) ? -INFINITY : logits[a];
    const float y = std::isnan(logits[b]) ? -INFINITY : logits[b];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(order.begin(), last, order.end(), is_before);
  if (routing.renormalizes) {
    total = 0;
    for (auto e = order.begin(); e != last; ++e) total += weights[at(*e)];
  }
  choices.clear();
  for (auto e = order.begin(); e != last; ++e) {
    choices.push_back({*e, static_cast<float>(weights[at(*e)] / total)});
  }
}

}  // namespace

struct ForwardOps::ExpertGroup {
  int expert;
  int variant;
  std::vector<int> rows;       // of x, ascending
  std::vector<int> ranks;      // by row: how many of its experts weigh more
  std::vector<float> weights;  // by row
  Data out{};                  // [rows, width of the result]
};

std::vector<ForwardOps::ExpertGroup> ForwardOps::route(const Data& x, const Data& logits,
                                                       const FormRun& run,
                                                       const RoutingSpec& routing) const {
  std::map<std::pair<int, int>, std::size_t> index;
  std::vector<ExpertGroup> groups;
  std::vector<Choice> choices;
  auto variant = variants_of(x).begin();
  for (int r = run.first; r < run.first + run.rows; ++r) {
    while (r >= variant->first + variant->rows) ++variant;
    choose(row(logits, r), logits.width, routing, choices);
    for (std::size_t rank = 0; rank < choices.size(); ++rank) {
      const std::pair key{choices[rank].expert, variant->variant};
      const auto [entry, is_new] = index.emplace(key, groups.size());
      if (is_new) groups.push_back({key.first, key.second, {}, {}, {}});
      ExpertGroup& group = groups[entry->second];
      group.rows.push_back(r);
      group.ranks.push_back(static_cast<int>(rank));
      group.weights.push_back(choices[rank].weight);
    }
  }
  return groups;
}

/// Computes each group's results, unweighted.
void ForwardOps::run_experts(const Data& x, const FormRun& run, std::span<ExpertGroup> groups,
                             const std::array<const LinearPart*, 3>& parts, Activation activation,
                             const Data& out) {
  static const std::vector<float> kNoBias;
  const auto scratch = [&](std::size_t rows, std::int64_t width) {
    const auto columns = static_cast<std::size_t>(width);
    return Data{arena_->allocate(rows * columns), static_cast<int>(rows), static_cast<int>(width),
                x.is_selected};
  };
  // Outputs of one expert, of the matrix that its rows' variant has in place of the part's.
  const auto product = [&](const ExpertGroup& group, const LinearPart& part, const Data& in,
                           const Data& target) {
    const StoredMatrix& matrix =
        variants_ != nullptr ? variants_->find(group.variant, part.matrix) : part.matrix;
    Product result{&matrix, &kNoBias, &in, &target, group.expert * part.outputs(), part.outputs()};
    result.run = {0, in.rows, run.form};
    result.is_resolved = true;
    return result;
  };
  std::vector<Data> inputs;
  std::vector<Data> gates;
  std::vector<Data> ups;
  for (ExpertGroup& group : groups) {
    inputs.push_back(scratch(group.rows.size(), x.width));
    gates.push_back(scratch(group.rows.size(), parts[0]->outputs()));
    ups.push_back(scratch(group.rows.size(), parts[1]->outputs()));
    group.out = scratch(group.rows.size(), out.width);
    for (std::size_t i = 0; i < group.rows.size(); ++i) {
      std::copy_n(row(x, group.rows[i]), x.width, row(inputs.back(), static_cast<int>(i)));
    }
  }
  std::vector<Product> products;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    products.push_back(product(groups[g], *parts[0], inputs[g], gates[g]));
    products.push_back(product(groups[g], *parts[1], inputs[g], ups[g]));
  }
  multiply_runs(products);
  products.clear();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    multiply_activated(gates[g], ups[g], activation);
    products.push_back(product(groups[g], *parts[2], ups[g], groups[g].out));
  }
  multiply_runs(products);
}

Tensor ForwardOps::gated_experts(Tensor x, Tensor router_logits, const RoutingSpec& routing,
                                 ExpertLinear gate, ExpertLinear up, ExpertLinear down,
                                 Activation activation) {
  const std::array parts{&weights_[gate], &weights_[up], &weights_[down]};
  const int rows = data(x, "gated_experts").rows;
  if (parts[0]->matrix.columns != x.width || parts[1]->matrix.columns != x.width ||
      parts[0]->outputs() != parts[1]->outputs() ||
      parts[2]->matrix.columns != parts[0]->outputs() || router_logits.width != parts[0]->experts ||
      router_logits.width != parts[1]->experts || router_logits.width != parts[2]->experts ||
      routing.experts_per_row < 1 || routing.experts_per_row > router_logits.width ||
      data(router_logits, "gated_experts").rows != rows) {
    throw Error(ErrorCode::internal,
                fmt::format("gated_experts that do not fit a tensor of width {}", x.width),
                parts[0]->name, "report this to the architecture's author");
  }
  const Tensor result = make(rows, static_cast<int>(parts[2]->outputs()));
  const Data in = data(x, "gated_experts");
  const Data logits = data(router_logits, "gated_experts");
  const Data out = data(result, "gated_experts");
  const auto per_row = at(routing.experts_per_row);
  for (const FormRun& run : runs_of(in)) {
    std::vector<ExpertGroup> groups = route(in, logits, run, routing);
    run_experts(in, run, groups, parts, activation, out);
    // By row and rank, so that a row's sum has one order whatever the groups are.
    std::vector<std::pair<const float*, float>> terms(at(run.rows) * per_row);
    for (const ExpertGroup& group : groups) {
      for (std::size_t i = 0; i < group.rows.size(); ++i) {
        terms[at(group.rows[i] - run.first) * per_row + at(group.ranks[i])] = {
            row(group.out, static_cast<int>(i)), group.weights[i]};
      }
    }
    for_rows(run.rows, per_row * at(out.width), [&](int first, int last) {
      for (int r = first; r < last; ++r) {
        float* target = row(out, run.first + r);
        std::fill_n(target, out.width, 0.0F);
        for (std::size_t rank = 0; rank < per_row; ++rank) {
          const auto& [values, weight] = terms[at(r) * per_row + rank];
          for (int i = 0; i < out.width; ++i) target[i] += weight * values[i];
        }
      }
    });
  }
  return result;
}

}  // namespace quiver
