// Matrix products of ForwardOps: rows times stored matrices, decoded slab by slab.
#include <algorithm>
#include <vector>

#include "core/kernels/kernel_table.hpp"
#include "core/ops/activation.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

// Weights are decoded into a slab of at most this many bytes, which stays in the first- or
// second-level cache while all rows pass over it.
constexpr std::size_t kSlabBytes = 128U << 10U;
constexpr int kSlabOutputs = 48;  // a multiple of every kernel's tile

int slab_outputs(std::int64_t columns) {
  const std::size_t fit = kSlabBytes / (static_cast<std::size_t>(columns) * sizeof(float));
  return std::clamp(static_cast<int>(fit), 6, kSlabOutputs);
}

struct Slab {
  std::size_t product;
  std::int64_t first;
  int outputs;
};

}  // namespace

void ForwardOps::multiply_matrices(const Data& x, std::span<const Product> products) {
  std::vector<Slab> slabs;
  for (std::size_t p = 0; p < products.size(); ++p) {
    const StoredMatrix& matrix = *products[p].matrix;
    const int step = slab_outputs(matrix.columns);
    for (std::int64_t first = 0; first < matrix.rows; first += step) {
      const auto outputs = static_cast<int>(std::min<std::int64_t>(step, matrix.rows - first));
      slabs.push_back({p, first, outputs});
    }
  }
  threads_.run(static_cast<int>(slabs.size()), [&](int task, int worker) {
    const Slab& slab = slabs[static_cast<std::size_t>(task)];
    const Product& product = products[slab.product];
    const StoredMatrix& matrix = *product.matrix;
    const auto columns = static_cast<int>(matrix.columns);
    const float* weights = matrix.direct(slab.first);
    if (weights == nullptr) {
      std::vector<float>& scratch = memory_.scratch[static_cast<std::size_t>(worker)];
      const auto count = static_cast<std::size_t>(slab.outputs) * static_cast<std::size_t>(columns);
      if (scratch.size() < count) scratch.resize(count);
      matrix.decode(slab.first, slab.outputs, {scratch.data(), count});
      weights = scratch.data();
    }
    float* out = product.out->values + slab.first;
    const auto stride = static_cast<std::size_t>(product.out->width);
    kernels().matmul(x.values, static_cast<std::size_t>(x.width), x.rows, weights, slab.outputs,
                     columns, out, stride);
    if (product.bias->empty()) return;
    const float* bias = product.bias->data() + slab.first;
    for (int r = 0; r < x.rows; ++r) {
      for (int o = 0; o < slab.outputs; ++o)
        out[static_cast<std::size_t>(r) * stride + static_cast<std::size_t>(o)] += bias[o];
    }
  });
}

void ForwardOps::linears(Tensor x, std::span<const Linear> weights, std::span<Tensor> out) {
  const int rows = data(x, "linear").rows;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const LinearPart& part = weights_[weights[i]];
    if (part.matrix.columns != x.width) {
      throw Error(
          ErrorCode::internal,
          fmt::format("linear of {} inputs on a tensor of width {}", part.matrix.columns, x.width),
          part.name, "report this to the architecture's author");
    }
    out[i] = make(rows, static_cast<int>(part.matrix.rows));
  }
  std::vector<Product> products;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const LinearPart& part = weights_[weights[i]];
    products.push_back({&part.matrix, &part.bias, &data(out[i], "linear")});
  }
  multiply_matrices(data(x, "linear"), products);
}

Tensor ForwardOps::linear(Tensor x, Linear weight) {
  Tensor out;
  linears(x, std::span<const Linear>(&weight, 1), std::span<Tensor>(&out, 1));
  return out;
}

Tensor ForwardOps::gated(Tensor x, Linear gate, Linear up, Activation activation) {
  const auto [g, u] = linears(x, gate, up);
  if (g.width != u.width) {
    throw Error(ErrorCode::internal, "gated of linears with different numbers of outputs",
                weights_[gate].name, "report this to the architecture's author");
  }
  const Data& gates = data(g, "gated");
  const Data& values = data(u, "gated");
  for_rows(gates.rows, static_cast<std::size_t>(gates.width) * 8, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      float* target = row(values, r);
      const float* source = row(gates, r);
      for (int i = 0; i < gates.width; ++i) target[i] *= activate_value(activation, source[i]);
    }
  });
  return u;
}

Tensor ForwardOps::project(Tensor x, Embedding table) {
  static const std::vector<float> kNoBias;
  const EmbeddingPart& part = weights_[table];
  if (part.matrix.columns != x.width) {
    throw Error(ErrorCode::internal,
                fmt::format("project onto a table of width {} from a tensor of width {}",
                            part.matrix.columns, x.width),
                part.name, "report this to the architecture's author");
  }
  const Tensor out = make(data(x, "project").rows, static_cast<int>(part.matrix.rows));
  const Product product{&part.matrix, &kNoBias, &data(out, "project")};
  multiply_matrices(data(x, "project"), {&product, 1});
  return out;
}

}  // namespace quiver
