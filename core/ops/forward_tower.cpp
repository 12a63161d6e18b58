// Towers of ForwardOps: rows are patches, and segments the pictures that they belong to.
#include <cmath>
#include <vector>

#include "core/kernels/kernel_table.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

/// Two neighbours on one side of a table, and how far between them something lies.
struct Place {
  int low;
  int high;
  float share;  ///< Of the higher one.
};

/// Where step `index` of `steps` falls on a side of `size` entries whose ends are those of the
/// steps.
Place place_of(int index, int steps, int size) {
  const float x = steps == 1 ? 0.0F
                             : static_cast<float>(index) * static_cast<float>(size - 1) /
                                   static_cast<float>(steps - 1);
  const int low = std::min(static_cast<int>(x), size - 1);
  return {low, std::min(low + 1, size - 1), x - static_cast<float>(low)};
}

// So many queries share each pass over the keys.
constexpr int kQueryRows = 64;

}  // namespace

Tensor ForwardOps::layer_norm(Tensor x, LayerNorm norm) {
  const LayerNormPart& part = weights_[norm];
  if (x.width != part.width) {
    throw Error(ErrorCode::internal,
                fmt::format("layer_norm of width {} on a tensor of width {}", part.width, x.width),
                part.name, "report this to the architecture's author");
  }
  const Tensor result = make(data(x, "layer_norm").rows, x.width);
  const Data& in = data(x, "layer_norm");
  const Data& out = data(result, "layer_norm");
  for_rows(in.rows, 4 * at(in.width), [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const float* source = row(in, r);
      float* target = row(out, r);
      double sum = 0;
      for (int i = 0; i < in.width; ++i) sum += source[i];
      const auto mean = static_cast<float>(sum / in.width);
      for (int i = 0; i < in.width; ++i) target[i] = source[i] - mean;
      const float variance = sum_of_squares(target, in.width) / static_cast<float>(in.width);
      const float factor = 1.0F / std::sqrt(variance + part.epsilon);
      for (int i = 0; i < in.width; ++i) {
        target[i] = target[i] * factor * part.weight[at(i)] + part.bias[at(i)];
      }
    }
  });
  return result;
}

Tensor ForwardOps::positions(PositionTable table) {
  const PositionTablePart& part = weights_[table];
  const Tensor result = make(batch_.rows(), part.width);
  const Data& out = data(result, "positions");
  const auto width = at(part.width);
  for (std::size_t s = 0; s < batch_.segments.size(); ++s) {
    const Segment& segment = batch_.segments[s];
    const auto [height, columns] = batch_.picture_grids.at(s);
    for (int r = segment.first_row; r < segment.first_row + segment.rows; ++r) {
      const Place y = place_of(batch_.positions[at(r)][1], height, part.side);
      const Place x = place_of(batch_.positions[at(r)][2], columns, part.side);
      const auto entry = [&](int row_index, int column) {
        return part.values.data() + (at(row_index) * at(part.side) + at(column)) * width;
      };
      const float* corners[] = {entry(y.low, x.low), entry(y.low, x.high), entry(y.high, x.low),
                                entry(y.high, x.high)};
      const float shares[] = {(1 - y.share) * (1 - x.share), (1 - y.share) * x.share,
                              y.share * (1 - x.share), y.share * x.share};
      float* target = row(out, r);
      for (std::size_t i = 0; i < width; ++i) {
        target[i] = shares[0] * corners[0][i] + shares[1] * corners[1][i] +
                    shares[2] * corners[2][i] + shares[3] * corners[3][i];
      }
    }
  }
  return result;
}

Tensor ForwardOps::picture_attention(Tensor q, Tensor k, Tensor v, int heads, float scale) {
  if (heads < 1 || q.width % heads != 0 || k.width != q.width || v.width != q.width) {
    throw Error(ErrorCode::internal,
                fmt::format("picture_attention of {} heads on tensors of width {}, {} and {}",
                            heads, q.width, k.width, v.width),
                "picture_attention", "report this to the architecture's author");
  }
  const Tensor result = make(data(q, "picture_attention").rows, q.width);
  const Data& queries = data(q, "picture_attention");
  const Data& keys = data(k, "picture_attention");
  const Data& values = data(v, "picture_attention");
  const Data& out = data(result, "picture_attention");
  const int dim = q.width / heads;
  const auto stride = at(q.width);
  for (const Segment& segment : batch_.segments) {
    const auto rows = at(segment.rows);
    // Of each head: keys side by side, and values by dimension, as products take them.
    float* packed_keys = arena_->allocate(rows * stride);
    float* turned_values = arena_->allocate(rows * stride);
    threads_.run(heads, [&](int head, int) {
      float* head_keys = packed_keys + at(head) * at(dim) * rows;
      float* head_values = turned_values + at(head) * at(dim) * rows;
      for (int r = 0; r < segment.rows; ++r) {
        const float* key = row(keys, segment.first_row + r) + head * dim;
        const float* value = row(values, segment.first_row + r) + head * dim;
        std::copy_n(key, dim, head_keys + at(r) * at(dim));
        for (int i = 0; i < dim; ++i) head_values[at(i) * rows + at(r)] = value[i];
      }
    });
    const int blocks = (segment.rows + kQueryRows - 1) / kQueryRows;
    threads_.run(heads * blocks, [&](int task, int worker) {
      const int head = task / blocks;
      const int first = task % blocks * kQueryRows;
      const int count = std::min(kQueryRows, segment.rows - first);
      std::vector<float>& scores = memory_.scratch[at(worker)];
      scores.resize(std::max(scores.size(), at(count) * rows));
      const FloatKernels& floats = *kernels().floats;
      const ElementKernels& elements = *kernels().elements;
      floats.matmul(row(queries, segment.first_row + first) + head * dim, stride, count,
                    packed_keys + at(head) * at(dim) * rows, segment.rows, dim, scores.data(),
                    rows);
      std::vector<float> totals(at(count));
      for (int r = 0; r < count; ++r) {
        float* own = scores.data() + at(r) * rows;
        for (std::size_t i = 0; i < rows; ++i) own[i] *= scale;
        const float top = elements.largest(own, segment.rows);
        totals[at(r)] = elements.exp_sum(own, segment.rows, top);
      }
      float* target = row(out, segment.first_row + first) + head * dim;
      floats.matmul(scores.data(), rows, count, turned_values + at(head) * at(dim) * rows, dim,
                    segment.rows, target, stride);
      for (int r = 0; r < count; ++r) {
        for (int i = 0; i < dim; ++i) target[at(r) * stride + at(i)] /= totals[at(r)];
      }
    });
  }
  return result;
}

Tensor ForwardOps::merge_rows(Tensor x, int count) {
  const int rows = data(x, "merge_rows").rows;
  if (count < 1 || rows % count != 0) {
    throw Error(ErrorCode::internal, fmt::format("{} rows merged by {}", rows, count), "merge_rows",
                "report this to the architecture's author");
  }
  // From here on tensors have as many rows as this one.
  is_selected_ = true;
  selected_run_ = {0, rows / count, RowForm::prompt};
  selected_variants_ = {{0, rows / count, 0}};
  const Tensor result = make(rows / count, x.width * count);
  const Data& in = data(x, "merge_rows");
  // The rows lie behind one another already.
  std::copy_n(in.values, at(rows) * at(in.width), data(result, "merge_rows").values);
  return result;
}

}  // namespace quiver
