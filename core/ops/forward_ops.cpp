// Ops that compute: bookkeeping of tensors, and the operations that work element by element.
#include "core/ops/forward_ops.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <numbers>
#include <quiver/error.hpp>

#include "core/kernels/kernel_table.hpp"
#include "core/ops/activation.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

/// Adds rows that follow those in `runs`.
void add_rows(std::vector<VariantRun>& runs, int first, int rows, int variant) {
  if (runs.empty() || runs.back().variant != variant) runs.push_back({first, 0, variant});
  runs.back().rows += rows;
}

/// The run that holds a row.
const VariantRun& run_of(const std::vector<VariantRun>& runs, int row) {
  return *std::prev(std::ranges::upper_bound(runs, row, {}, &VariantRun::first));
}

}  // namespace

ForwardOps::ForwardOps(const WeightStore& weights, const KvPlan& kv, const Batch& batch,
                       ForwardMemory& memory, const ForwardMeans& means)
    : weights_(weights),
      kv_(kv),
      batch_(batch),
      memory_(memory),
      threads_(means.threads),
      compute_(means.compute),
      packed_(means.packed),
      variants_(means.variants),
      observer_(means.observer),
      arena_(&memory.base) {
  for (const Segment& segment : batch.segments) {
    const Visibility& visibility = segment.visibility;
    if (visibility.kind == VisibilityKind::block_causal && visibility.block_length < 1) {
      throw Error(ErrorCode::internal, "blocks of less than one token", "attention",
                  "report this to the architecture's author");
    }
    if (batch_runs_.empty() || batch_runs_.back().form != segment.form) {
      batch_runs_.push_back({segment.first_row, 0, segment.form});
    }
    batch_runs_.back().rows += segment.rows;
    add_rows(batch_variants_, segment.first_row, segment.rows, segment.variant);
  }
  memory_.base.reset();
  for (Arena& arena : memory_.block) arena.reset();
  memory_.scratch.resize(static_cast<std::size_t>(threads_.threads()));
}

Tensor ForwardOps::make(int rows, int width) {
  const auto count = static_cast<std::size_t>(rows) * static_cast<std::size_t>(width);
  tensors_.push_back({arena_->allocate(count), rows, width, is_selected_});
  return {static_cast<std::int32_t>(tensors_.size() - 1), width};
}

const ForwardOps::Data& ForwardOps::data(Tensor x, const char* operation) const {
  if (x.id < 0 || static_cast<std::size_t>(x.id) >= tensors_.size() ||
      tensors_[static_cast<std::size_t>(x.id)].values == nullptr) {
    throw Error(ErrorCode::internal, "a tensor is used that does not exist or has ended", operation,
                "report this to the architecture's author");
  }
  return tensors_[static_cast<std::size_t>(x.id)];
}

std::span<const float> ForwardOps::values(Tensor x) const {
  const Data& d = data(x, "values");
  return {d.values, static_cast<std::size_t>(d.rows) * static_cast<std::size_t>(d.width)};
}

void ForwardOps::begin_block() {
  arena_ = &memory_.block[static_cast<std::size_t>(next_block_arena_)];
}

void ForwardOps::end_block(Stream& stream) {
  // Of the block before this one only what the stream still holds is alive: move that over, so that
  // its arena is free for the next block.
  Arena& before = memory_.block[static_cast<std::size_t>(1 - next_block_arena_)];
  const auto keep = [&](Tensor& tensor) {
    if (!tensor) return;
    Data& d = tensors_[static_cast<std::size_t>(tensor.id)];
    if (!before.owns(d.values)) return;
    const Tensor copy = make(d.rows, d.width);
    const Data& target = tensors_[static_cast<std::size_t>(copy.id)];
    const Data& source = tensors_[static_cast<std::size_t>(tensor.id)];
    std::copy_n(source.values,
                static_cast<std::size_t>(source.rows) * static_cast<std::size_t>(source.width),
                target.values);
    tensor = copy;
  };
  data(stream.x, "the stream after a block");
  keep(stream.x);
  for (Tensor& side : stream.side) keep(side);
  // Handles of ended tensors must not be mistaken for live ones.
  for (Data& d : tensors_) {
    if (d.values != nullptr && before.owns(d.values)) d.values = nullptr;
  }
  before.reset();
  next_block_arena_ = 1 - next_block_arena_;
  arena_ = &memory_.base;
}

Tensor ForwardOps::select_rows(Tensor x, std::span<const int> rows) {
  is_selected_ = true;
  selected_run_ = {0, static_cast<int>(rows.size()), RowForm::decode};
  selected_variants_.clear();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    add_rows(selected_variants_, static_cast<int>(i), 1, run_of(batch_variants_, rows[i]).variant);
  }
  const Tensor result = make(static_cast<int>(rows.size()), x.width);
  const Data& in = data(x, "select_rows");
  const Data& out = data(result, "select_rows");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(row(in, rows[i]), in.width, row(out, static_cast<int>(i)));
  }
  return result;
}

std::span<const FormRun> ForwardOps::runs_of(const Data& x) const {
  return x.is_selected ? std::span<const FormRun>(&selected_run_, 1) : batch_runs_;
}

Tensor ForwardOps::embed(Embedding table) {
  const EmbeddingPart& part = weights_[table];
  const auto width = static_cast<int>(part.matrix.columns);
  const Tensor result = make(batch_.rows(), width);
  const Data& out = data(result, "embed");
  if (observer_) observer_(part.matrix, out.rows, {});
  for (const VariantRun& run : batch_variants_) {
    const StoredMatrix& matrix =
        variants_ != nullptr ? variants_->find(run.variant, part.matrix) : part.matrix;
    for (int r = run.first; r < run.first + run.rows; ++r) {
      matrix.decode(batch_.tokens[static_cast<std::size_t>(r)], 1,
                    {row(out, r), static_cast<std::size_t>(width)});
    }
  }
  for (const auto& [r, values] : batch_.replaced_rows) {
    if (values.size() != static_cast<std::size_t>(width)) {
      throw Error(ErrorCode::internal,
                  fmt::format("{} values in place of an embedding of {}", values.size(), width),
                  part.name);
    }
    std::ranges::copy(values, row(out, r));
  }
  return result;
}

Tensor ForwardOps::adopt(std::span<const float> values, int width) {
  const Tensor result = make(batch_.rows(), width);
  const Data& out = data(result, "adopt");
  if (values.size() != static_cast<std::size_t>(out.rows) * static_cast<std::size_t>(width)) {
    throw Error(ErrorCode::internal,
                fmt::format("{} values for {} rows of {}", values.size(), out.rows, width),
                "adopt");
  }
  std::ranges::copy(values, out.values);
  return result;
}

Tensor ForwardOps::norm_rows(Tensor x, Norm norm, bool by_head) {
  const char* operation = by_head ? "rms_norm_heads" : "rms_norm";
  const NormPart& part = weights_[norm];
  const bool fits = by_head ? x.width % part.width == 0 : x.width == part.width;
  if (!fits) {
    throw Error(
        ErrorCode::internal,
        fmt::format("{} of width {} on a tensor of width {}", operation, part.width, x.width),
        part.name, "report this to the architecture's author");
  }
  const Tensor result = make(data(x, operation).rows, x.width);
  const Data& in = data(x, operation);
  const Data& out = data(result, operation);
  const int heads = x.width / part.width;
  const float* weight = part.has_weight ? part.weight.data() : nullptr;
  for_rows(in.rows, static_cast<std::size_t>(in.width), [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      for (int head = 0; head < heads; ++head) {
        const float* source = row(in, r) + head * part.width;
        float* target = row(out, r) + head * part.width;
        const float mean = sum_of_squares(source, part.width) / static_cast<float>(part.width);
        const float factor = 1.0F / std::sqrt(mean + part.epsilon);
        for (int i = 0; i < part.width; ++i) {
          target[i] = source[i] * factor * (weight != nullptr ? weight[i] : 1.0F);
        }
      }
    }
  });
  return result;
}

Tensor ForwardOps::rms_norm(Tensor x, Norm norm) {
  return norm_rows(x, norm, false);
}

Tensor ForwardOps::rms_norm_heads(Tensor x, Norm norm) {
  return norm_rows(x, norm, true);
}

Tensor ForwardOps::add(Tensor a, Tensor b) {
  return combine(a, b, "add", [](float x, float y) { return x + y; });
}

Tensor ForwardOps::multiply(Tensor a, Tensor b) {
  return combine(a, b, "multiply", [](float x, float y) { return x * y; });
}

Tensor ForwardOps::scale(Tensor x, float factor) {
  return map(x, "scale", [factor](float value) { return value * factor; });
}

Tensor ForwardOps::activate(Tensor x, Activation activation) {
  const Tensor result = make(data(x, "activate").rows, x.width);
  const Data& in = data(x, "activate");
  const Data& out = data(result, "activate");
  const auto width = static_cast<std::size_t>(in.width);
  for_rows(in.rows, width * 8, [&](int first, int last) {
    const std::size_t count = static_cast<std::size_t>(last - first) * width;
    std::copy_n(row(in, first), count, row(out, first));
    activate_values(activation, row(out, first), count);
  });
  return result;
}

Tensor ForwardOps::gate(Tensor x, Tensor gates, Activation activation) {
  if (gates.width <= 0 || x.width % gates.width != 0 ||
      data(x, "gate").rows != data(gates, "gate").rows) {
    throw Error(ErrorCode::internal,
                fmt::format("gate of width {} on a tensor of width {}", gates.width, x.width),
                "gate", "report this to the architecture's author");
  }
  const Tensor result = make(data(x, "gate").rows, x.width);
  const Data& in = data(x, "gate");
  const Data& factors = data(gates, "gate");
  const Data& out = data(result, "gate");
  if (x.width == gates.width) {
    const auto count = static_cast<std::size_t>(in.rows) * static_cast<std::size_t>(in.width);
    std::copy_n(in.values, count, out.values);
    multiply_activated(factors, out, activation);
    return result;
  }
  const int columns = in.width / factors.width;
  for (int r = 0; r < in.rows; ++r) {
    for (int g = 0; g < factors.width; ++g) {
      const float factor = activate_value(activation, row(factors, r)[g]);
      const float* source = row(in, r) + g * columns;
      float* target = row(out, r) + g * columns;
      for (int i = 0; i < columns; ++i) target[i] = source[i] * factor;
    }
  }
  return result;
}

Tensor ForwardOps::soft_cap(Tensor x, float cap) {
  if (cap <= 0) return x;
  const Tensor result = make(data(x, "soft_cap").rows, x.width);
  const Data& in = data(x, "soft_cap");
  const Data& out = data(result, "soft_cap");
  const auto width = static_cast<std::size_t>(in.width);
  for_rows(in.rows, width * 4, [&](int first, int last) {
    kernels().elements->soft_cap(row(in, first), static_cast<std::size_t>(last - first) * width,
                                 cap, row(out, first));
  });
  return result;
}

Tensor ForwardOps::softmax(Tensor x) {
  const Tensor result = make(data(x, "softmax").rows, x.width);
  const Data& in = data(x, "softmax");
  const Data& out = data(result, "softmax");
  for_rows(in.rows, static_cast<std::size_t>(in.width) * 16, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const float* source = row(in, r);
      float* target = row(out, r);
      const float top = *std::max_element(source, source + in.width);
      double total = 0;
      for (int i = 0; i < in.width; ++i) {
        target[i] = std::exp(source[i] - top);
        total += target[i];
      }
      const auto factor = static_cast<float>(1.0 / total);
      for (int i = 0; i < in.width; ++i) target[i] *= factor;
    }
  });
  return result;
}

Tensor ForwardOps::slice_heads(Tensor x, int heads, int begin, int width) {
  if (heads <= 0 || x.width % heads != 0 || begin < 0 || width <= 0 ||
      begin + width > x.width / heads) {
    throw Error(ErrorCode::internal,
                fmt::format("slice_heads of [{}, {}) from {} parts of a tensor of width {}", begin,
                            begin + width, heads, x.width),
                "slice_heads", "report this to the architecture's author");
  }
  const Tensor result = make(data(x, "slice_heads").rows, heads * width);
  const Data& in = data(x, "slice_heads");
  const Data& out = data(result, "slice_heads");
  const int stride = in.width / heads;
  for (int r = 0; r < in.rows; ++r) {
    for (int head = 0; head < heads; ++head) {
      std::copy_n(row(in, r) + head * stride + begin, width, row(out, r) + head * width);
    }
  }
  return result;
}

Tensor ForwardOps::concat(std::span<const Tensor> parts) {
  int width = 0;
  for (const Tensor part : parts) width += part.width;
  if (parts.empty()) throw Error(ErrorCode::internal, "concat of nothing", "concat");
  const Tensor result = make(data(parts[0], "concat").rows, width);
  const Data& out = data(result, "concat");
  int begin = 0;
  for (const Tensor part : parts) {
    const Data& in = data(part, "concat");
    for (int r = 0; r < in.rows; ++r) std::copy_n(row(in, r), in.width, row(out, r) + begin);
    begin += in.width;
  }
  return result;
}

void* ForwardOps::extension(std::string_view interface_id) {
  if (interface_id == RecurrentOps::kInterfaceId) return static_cast<RecurrentOps*>(this);
  if (interface_id == ExpertOps::kInterfaceId) return static_cast<ExpertOps*>(this);
  if (interface_id == TowerOps::kInterfaceId) return static_cast<TowerOps*>(this);
  return nullptr;
}

}  // namespace quiver
