// Matrix products of ForwardOps: rows times packed matrices, or decoded slab by slab.
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

// From so many rows on, halves are converted once for all of them.
constexpr int kRowsWorthDecoding = 4;

/// Products with a slab of bfloat16 or float16 weights where they lie, the same bits as those of
/// converted ones. Returns false where the matrix has another form.
bool multiply_halves(const StoredMatrix& matrix, const Slab& slab, const float* x, int width,
                     int rows, float* out, std::size_t stride) {
  if (!matrix.is_dense() || (matrix.dtype != DType::bf16 && matrix.dtype != DType::f16)) {
    return false;
  }
  const FloatKernels& floats = *kernels().floats;
  const auto multiply = matrix.dtype == DType::bf16 ? floats.matmul_bf16 : floats.matmul_f16;
  multiply(x, static_cast<std::size_t>(width), rows, matrix.dense_row(slab.first), slab.outputs,
           width, out, stride);
  return true;
}

// Of one task: large enough that taking it costs nothing, small enough that workers finish
// together.
constexpr std::size_t kTaskBytes = 48U << 10U;
constexpr std::int64_t kTaskStripes = 4;  // as many as kernels take side by side

/// Stripes of a matrix that make one task.
std::int64_t task_stripes(const PackedWeights& w, int workers) {
  const std::int64_t even = (w.stripes + 4 * workers - 1) / (4 * workers);
  const auto wanted = static_cast<std::int64_t>(kTaskBytes / w.stripe_bytes);
  const std::int64_t whole = (wanted + kTaskStripes - 1) / kTaskStripes * kTaskStripes;
  return std::max<std::int64_t>(1, std::min(std::max(whole, kTaskStripes), even));
}

void add_bias(const std::vector<float>& bias, std::int64_t first, int outputs, int rows, float* out,
              std::size_t stride) {
  if (bias.empty()) return;
  for (int r = 0; r < rows; ++r) {
    float* target = out + static_cast<std::size_t>(r) * stride;
    for (int o = 0; o < outputs; ++o) target[o] += bias[static_cast<std::size_t>(first + o)];
  }
}

}  // namespace

void ForwardOps::multiply_matrices(const Data& x, std::span<const Product> products) {
  for (const FormRun& run : runs_of(x)) {
    std::vector<Product> of_run(products.begin(), products.end());
    for (Product& product : of_run) product.run = run;
    multiply_runs(of_run);
  }
}

void ForwardOps::multiply_runs(std::span<const Product> products) {
  std::vector<Product> packed;
  std::vector<Product> floats;
  for (Product product : products) {
    if (observer_) {
      const FormRun& run = product.run;
      const auto count =
          static_cast<std::size_t>(run.rows) * static_cast<std::size_t>(product.x->width);
      observer_(*product.matrix, run.rows, {row(*product.x, run.first), count});
    }
    if (variants_ != nullptr && !product.is_resolved && variants_->replaces(*product.matrix)) {
      add_replaced(product, floats);
      continue;
    }
    const auto format = compute_.format(product.run.form, product.matrix->format.bits);
    // Kernels begin at whole stripes.
    if (packed_ != nullptr && format && product.first % kStripeOutputs == 0) {
      product.packed = packed_->find(*product.matrix, threads_);
      product.format = *format;
    }
    (product.packed != nullptr ? packed : floats).push_back(product);
  }
  if (!packed.empty()) multiply_packed(packed);
  if (!floats.empty()) multiply_floats(floats);
}

/// Adds the product as it is for each variant's rows; neighbours with one matrix are one product.
void ForwardOps::add_replaced(const Product& product, std::vector<Product>& floats) const {
  const FormRun& run = product.run;
  const auto start = floats.size();
  for (const VariantRun& variant : variants_of(*product.x)) {
    const int first = std::max(variant.first, run.first);
    const int last = std::min(variant.first + variant.rows, run.first + run.rows);
    if (first >= last) continue;
    const StoredMatrix* matrix = &variants_->find(variant.variant, *product.matrix);
    if (floats.size() == start || floats.back().matrix != matrix) {
      floats.push_back(product);
      floats.back().matrix = matrix;
      floats.back().run = {first, 0, run.form};
    }
    floats.back().run.rows += last - first;
  }
}

const std::byte* ForwardOps::quantize_rows(const Data& x, const FormRun& run,
                                           ActivationFormat format, int group_size) {
  const std::size_t bytes = activation_row_bytes(format, x.width, group_size);
  auto* out = reinterpret_cast<std::byte*>(
      memory_.activations.allocate(bytes * static_cast<std::size_t>(run.rows) / sizeof(float)));
  const auto width = static_cast<std::size_t>(x.width);
  // A table's tiles of rows are written as wholes; this is a multiple of all their sizes.
  constexpr int kRows = 32;
  const int tasks = (run.rows + kRows - 1) / kRows;
  threads_.run(tasks, [&](int task, int) {
    const int first = task * kRows;
    const int rows = std::min(kRows, run.rows - first);
    kernels().packed->quantize(row(x, run.first + first), width, rows, x.width, group_size, format,
                               out + static_cast<std::size_t>(first) * bytes);
  });
  return out;
}

void ForwardOps::multiply_packed(std::span<const Product> products) {
  memory_.activations.reset();
  struct Task {
    const Product* product;
    const std::byte* activations;
    std::int64_t first;
    std::int64_t stripes;
  };
  std::vector<Task> tasks;
  for (const Product& product : products) {
    const PackedWeights& w = *product.packed;
    // Products of one input mostly share its quantized form: q, k and v, or gate and up.
    const std::byte* activations = nullptr;
    for (const Task& task : tasks) {
      if (task.product->x == product.x && task.product->run.first == product.run.first &&
          task.product->format == product.format &&
          task.product->packed->group_size == w.group_size) {
        activations = task.activations;
      }
    }
    if (activations == nullptr) {
      activations = quantize_rows(*product.x, product.run, product.format, w.group_size);
    }
    const std::int64_t count = task_stripes(w, threads_.threads());
    const std::int64_t begin = product.first / kStripeOutputs;
    const std::int64_t end =
        (product.first + product.outputs + kStripeOutputs - 1) / kStripeOutputs;
    for (std::int64_t first = begin; first < end; first += count) {
      tasks.push_back({&product, activations, first, std::min(count, end - first)});
    }
  }
  const auto count = static_cast<int>(tasks.size());
  ReadingOrder::Step step;
  for (int thread = 0; thread < threads_.threads(); ++thread) {
    const int first = threads_.first_task(count, thread);
    const Task& task = tasks[static_cast<std::size_t>(std::min(first, count - 1))];
    const PackedWeights& w = *task.product->packed;
    const auto stripes =
        static_cast<std::size_t>((threads_.first_task(count, thread + 1) - first) * task.stripes);
    step.push_back(
        {w.data + static_cast<std::size_t>(task.first) * w.stripe_bytes, stripes * w.stripe_bytes});
  }
  if (const ReadingOrder::Step* next = memory_.order.next(step)) threads_.read_ahead(*next);
  threads_.run(count, [&](int index, int) {
    const Task& task = tasks[static_cast<std::size_t>(index)];
    const Product& product = *task.product;
    const PackedWeights& w = *product.packed;
    const std::int64_t first = task.first * kStripeOutputs;
    float* out = row(*product.out, product.run.first) + (first - product.first);
    const auto stride = static_cast<std::size_t>(product.out->width);
    kernels().packed->matmul(w, task.first, task.stripes, task.activations, product.run.rows,
                             product.format, out, stride);
    const auto outputs =
        static_cast<int>(std::min(task.stripes * kStripeOutputs, w.outputs - first));
    add_bias(*product.bias, first, outputs, product.run.rows, out, stride);
  });
}

void ForwardOps::multiply_floats(std::span<const Product> products) {
  std::vector<Slab> slabs;
  for (std::size_t p = 0; p < products.size(); ++p) {
    const Product& product = products[p];
    const int step = slab_outputs(product.matrix->columns);
    const std::int64_t end = product.first + product.outputs;
    for (std::int64_t first = product.first; first < end; first += step) {
      slabs.push_back({p, first, static_cast<int>(std::min<std::int64_t>(step, end - first))});
    }
  }
  threads_.run(static_cast<int>(slabs.size()), [&](int task, int worker) {
    const Slab& slab = slabs[static_cast<std::size_t>(task)];
    const Product& product = products[slab.product];
    const StoredMatrix& matrix = *product.matrix;
    const Data& x = *product.x;
    const FormRun& run = product.run;
    const auto columns = static_cast<int>(matrix.columns);
    float* out = row(*product.out, run.first) + (slab.first - product.first);
    const auto stride = static_cast<std::size_t>(product.out->width);
    if (run.rows < kRowsWorthDecoding &&
        multiply_halves(matrix, slab, row(x, run.first), x.width, run.rows, out, stride)) {
      add_bias(*product.bias, slab.first, slab.outputs, run.rows, out, stride);
      return;
    }
    const float* weights = matrix.direct(slab.first);
    if (weights == nullptr) {
      std::vector<float>& scratch = memory_.scratch[static_cast<std::size_t>(worker)];
      const auto count = static_cast<std::size_t>(slab.outputs) * static_cast<std::size_t>(columns);
      if (scratch.size() < count) scratch.resize(count);
      matrix.decode(slab.first, slab.outputs, {scratch.data(), count});
      weights = scratch.data();
    }
    kernels().floats->matmul(row(x, run.first), static_cast<std::size_t>(x.width), run.rows,
                             weights, slab.outputs, columns, out, stride);
    add_bias(*product.bias, slab.first, slab.outputs, run.rows, out, stride);
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
    out[i] = make(rows, static_cast<int>(outputs_of(part.matrix).rows));
  }
  std::vector<Product> products;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const LinearPart& part = weights_[weights[i]];
    products.push_back(
        product_of(outputs_of(part.matrix), part.bias, data(x, "linear"), data(out[i], "linear")));
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
  multiply_activated(data(g, "gated"), data(u, "gated"), activation);
  return u;
}

void ForwardOps::multiply_activated(const Data& gates, const Data& values, Activation activation) {
  const ElementKernels& elements = *kernels().elements;
  for_rows(gates.rows, static_cast<std::size_t>(gates.width), [&](int first, int last) {
    float* target = row(values, first);
    const float* source = row(gates, first);
    const std::size_t count =
        static_cast<std::size_t>(last - first) * static_cast<std::size_t>(gates.width);
    switch (activation) {
      case Activation::silu: elements.silu_multiply(source, target, count); return;
      case Activation::gelu_tanh: elements.gelu_tanh_multiply(source, target, count); return;
      case Activation::sigmoid: elements.sigmoid_multiply(source, target, count); return;
      default:
        for (std::size_t i = 0; i < count; ++i) target[i] *= activate_value(activation, source[i]);
    }
  });
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
  const StoredMatrix& matrix = outputs_of(part.matrix);
  const Tensor out = make(data(x, "project").rows, static_cast<int>(matrix.rows));
  const Product product = product_of(matrix, kNoBias, data(x, "project"), data(out, "project"));
  multiply_matrices(data(x, "project"), {&product, 1});
  return out;
}

}  // namespace quiver
