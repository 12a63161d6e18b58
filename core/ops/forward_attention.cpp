// Attention of ForwardOps: rotary positions, writing keys and values, softmax over pages.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

constexpr int kPage = KvStrategy::kTokens;

KvShape shape_of(const KvCachePart& part) {
  return {part.kv_heads, part.head_dim};
}

}  // namespace

const std::vector<float>& ForwardOps::rotations(Rope rope) {
  const auto [entry, is_new] = rotations_.try_emplace(rope.id);
  std::vector<float>& table = entry->second;
  if (!is_new) return table;
  const RopePart& part = weights_[rope];
  const std::size_t pairs = part.inverse_frequencies.size();
  table.resize(2 * pairs * batch_.positions.size());
  float* out = table.data();
  for (const auto& position : batch_.positions) {
    for (std::size_t j = 0; j < pairs; ++j) {
      const std::size_t axis = part.position_of_pair.empty() ? 0 : part.position_of_pair[j];
      const float angle = static_cast<float>(position[axis]) * part.inverse_frequencies[j];
      *out++ = std::cos(angle) * part.magnitude;
      *out++ = std::sin(angle) * part.magnitude;
    }
  }
  return table;
}

Tensor ForwardOps::rope(Tensor x, Rope rope, int head_dim) {
  const RopePart& part = weights_[rope];
  const auto pairs = static_cast<int>(part.inverse_frequencies.size());
  if (head_dim <= 0 || x.width % head_dim != 0 || 2 * pairs > head_dim) {
    throw Error(ErrorCode::internal,
                fmt::format("rope of {} pairs on heads of {} in a tensor of width {}", pairs,
                            head_dim, x.width),
                "rope", "report this to the architecture's author");
  }
  const std::vector<float>& table = rotations(rope);
  const Tensor result = make(data(x, "rope").rows, x.width);
  const Data& in = data(x, "rope");
  const Data& out = data(result, "rope");
  const bool is_half = part.layout == RopeLayout::half;
  const int partner = is_half ? pairs : 1;
  const int stride = is_half ? 1 : 2;
  for_rows(in.rows, static_cast<std::size_t>(in.width), [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const float* turn =
          table.data() + static_cast<std::size_t>(r) * 2U * static_cast<unsigned>(pairs);
      for (int head = 0; head < in.width / head_dim; ++head) {
        const float* source = row(in, r) + head * head_dim;
        float* target = row(out, r) + head * head_dim;
        for (int j = 0; j < pairs; ++j) {
          const float a = source[j * stride];
          const float b = source[j * stride + partner];
          target[j * stride] = a * turn[2 * j] - b * turn[2 * j + 1];
          target[j * stride + partner] = b * turn[2 * j] + a * turn[2 * j + 1];
        }
        std::copy(source + 2 * pairs, source + head_dim, target + 2 * pairs);
      }
    }
  });
  return result;
}

void ForwardOps::append(KvCache cache, Tensor k, Tensor v) {
  const KvCachePart& part = weights_[cache];
  const Data& keys = data(k, "attention");
  const Data& values = data(v, "attention");
  if (keys.width != part.kv_heads * part.head_dim || values.width != keys.width) {
    throw Error(ErrorCode::internal,
                fmt::format("keys and values of width {} and {} for a cache of {} heads of {}",
                            keys.width, values.width, part.kv_heads, part.head_dim),
                "attention", "report this to the architecture's author");
  }
  const auto width = static_cast<std::size_t>(keys.width);
  for (const Segment& segment : batch_.segments) {
    for (int r = 0; r < segment.rows; ++r) {
      const int token = segment.start + r;
      std::byte* page = segment.sequence->writable_page(cache, token / kPage);
      kv_.write(shape_of(part), page, token % kPage, {row(keys, segment.first_row + r), width},
                {row(values, segment.first_row + r), width});
    }
  }
}

/// One row's queries of one key-value head over all pages it sees, oldest first: an online softmax
/// whose steps are the pages themselves, so neither chunks nor neighbours change its order.
/// Source: Milakov and Gimelshein, arXiv 1805.02867.
void ForwardOps::attend(KvCache cache, const Segment& segment, int row_index, int kv_head,
                        const Data& q, const Data& out, const AttentionSpec& spec,
                        std::vector<float>& scratch) const {
  const KvCachePart& part = weights_[cache];
  const KvShape shape = shape_of(part);
  const int dim = part.head_dim;
  const int group = q.width / (part.kv_heads * dim);
  const auto size = static_cast<std::size_t>(group) * static_cast<std::size_t>(dim);
  scratch.resize(2 * size + static_cast<std::size_t>(group) * (kPage + 2));
  float* queries = scratch.data();
  float* sums = queries + size;
  float* scores = sums + size;
  float* tops = scores + group * kPage;
  float* totals = tops + group;

  std::copy_n(row(q, segment.first_row + row_index) + kv_head * group * dim, size, queries);
  for (std::size_t i = 0; i < size; ++i) queries[i] *= spec.scale;
  kv_.transform_queries(shape, queries, group);
  std::fill_n(sums, size, 0.0F);
  std::fill_n(tops, group, -std::numeric_limits<float>::infinity());
  std::fill_n(totals, group, 0.0F);

  const int end = segment.start + row_index + 1;
  const int begin = part.window > 0 ? std::max(0, end - part.window) : 0;
  for (int page = begin / kPage; page * kPage < end; ++page) {
    const int first = std::max(begin - page * kPage, 0);
    const int last = std::min(end - page * kPage, kPage);
    const std::byte* bytes = segment.sequence->page(cache, page);
    kv_.scores(shape, bytes, kv_head, first, last, queries, group, scores);
    for (int query = 0; query < group; ++query) {
      float* score = scores + query * kPage;
      if (spec.soft_cap > 0) {
        for (int slot = first; slot < last; ++slot) {
          score[slot] = spec.soft_cap * std::tanh(score[slot] / spec.soft_cap);
        }
      }
      const float top = std::max(tops[query], *std::max_element(score + first, score + last));
      const float rescale = std::exp(tops[query] - top);
      tops[query] = top;
      float total = totals[query] * rescale;
      for (int slot = first; slot < last; ++slot) {
        score[slot] = std::exp(score[slot] - top);
        total += score[slot];
      }
      totals[query] = total;
      if (rescale != 1.0F) {
        for (int i = 0; i < dim; ++i) sums[query * dim + i] *= rescale;
      }
    }
    kv_.accumulate(shape, bytes, kv_head, first, last, scores, group, sums);
  }
  for (int query = 0; query < group; ++query) {
    for (int i = 0; i < dim; ++i) sums[query * dim + i] /= totals[query];
  }
  kv_.transform_outputs(shape, sums, group);
  std::copy_n(sums, size, row(out, segment.first_row + row_index) + kv_head * group * dim);
}

Tensor ForwardOps::attention(KvCache cache, Tensor q, Tensor k, Tensor v,
                             const AttentionSpec& spec) {
  const KvCachePart& part = weights_[cache];
  const int kv_width = part.kv_heads * part.head_dim;
  if (kv_width <= 0 || q.width % kv_width != 0) {
    throw Error(ErrorCode::internal,
                fmt::format("queries of width {} for a cache of {} heads of {}", q.width,
                            part.kv_heads, part.head_dim),
                "attention", "report this to the architecture's author");
  }
  if (k) append(cache, k, v);
  const Tensor result = make(data(q, "attention").rows, q.width);
  const Data& queries = data(q, "attention");
  const Data& out = data(result, "attention");
  struct Task {
    const Segment* segment;
    int row;
  };
  std::vector<Task> rows;
  std::size_t work = 0;
  for (const Segment& segment : batch_.segments) {
    for (int r = 0; r < segment.rows; ++r) {
      rows.push_back({&segment, r});
      work += static_cast<std::size_t>(segment.start + r + 1) * static_cast<std::size_t>(q.width);
    }
  }
  const auto run = [&](int task, int worker) {
    const Task& t = rows[static_cast<std::size_t>(task / part.kv_heads)];
    attend(cache, *t.segment, t.row, task % part.kv_heads, queries, out, spec,
           memory_.scratch[static_cast<std::size_t>(worker)]);
  };
  const int tasks = static_cast<int>(rows.size()) * part.kv_heads;
  // A hand-over to another core pays from some 64k multiply-adds on.
  if (work > 65536) {
    threads_.run(tasks, run);
  } else {
    for (int task = 0; task < tasks; ++task) run(task, 0);
  }
  return result;
}

}  // namespace quiver
