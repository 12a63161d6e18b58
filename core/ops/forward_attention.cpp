// Attention of ForwardOps: rotary positions, writing keys and values, softmax over pages.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/cache/repack.hpp"
#include "core/ops/attention_tile.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

constexpr int kPage = KvStrategy::kTokens;

/// Turns the pairs (a[j * Stride], b[j * Stride]) by angles whose cosines are followed by their
/// sines.
template <int Stride>
void turn_pairs(const float* a, const float* b, const float* cosines, int pairs, float* out_a,
                float* out_b) {
  const float* sines = cosines + pairs;
  for (int j = 0; j < pairs; ++j) {
    const float x = a[j * Stride];
    const float y = b[j * Stride];
    out_a[j * Stride] = x * cosines[j] - y * sines[j];
    out_b[j * Stride] = y * cosines[j] + x * sines[j];
  }
}

KvShape shape_of(const KvCachePart& part) {
  return {part.kv_heads, part.head_dim};
}

std::size_t at(KvCache cache) {
  return static_cast<std::size_t>(cache.id);
}

const CacheLayout::KvLayer& layer_of(const Segment& segment, KvCache cache) {
  return segment.sequence->layout().kv_layers[at(cache)];
}

/// Whether the segment's sequence keeps the layer at all.
bool is_kept(const Segment& segment, KvCache cache) {
  return layer_of(segment, cache).page_bytes != 0;
}

/// Whether the newest tokens of a layer have a form of their own.
bool has_fresh(const Segment& segment, KvCache cache) {
  return layer_of(segment, cache).fresh_bytes != 0;
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
      out[j] = std::cos(angle) * part.magnitude;
      out[pairs + j] = std::sin(angle) * part.magnitude;
    }
    out += 2 * pairs;
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
  for_rows(in.rows, static_cast<std::size_t>(in.width), [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const float* cosines =
          table.data() + static_cast<std::size_t>(r) * 2U * static_cast<unsigned>(pairs);
      for (int head = 0; head < in.width / head_dim; ++head) {
        const float* source = row(in, r) + head * head_dim;
        float* target = row(out, r) + head * head_dim;
        if (is_half) {
          turn_pairs<1>(source, source + pairs, cosines, pairs, target, target + pairs);
        } else {
          turn_pairs<2>(source, source + 1, cosines, pairs, target, target + 1);
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
    if (!is_kept(segment, cache)) continue;
    const KvStrategy& writer = has_fresh(segment, cache) ? *kv_.fresh : kv_.strategy(at(cache));
    for (int r = 0; r < segment.rows; ++r) {
      const int token = segment.start + r;
      std::byte* page = segment.sequence->writable_page(cache, token / kPage);
      writer.write(shape_of(part), page, token % kPage, {row(keys, segment.first_row + r), width},
                   {row(values, segment.first_row + r), width});
    }
  }
  store_pages(cache);
}

/// Stores the pages that rows of this pass are the first to see stored.
void ForwardOps::store_pages(KvCache cache) {
  struct Task {
    Sequence* sequence;
    int page;
  };
  std::vector<Task> tasks;
  for (const Segment& segment : batch_.segments) {
    if (!has_fresh(segment, cache)) continue;
    const int newest = segment.start + segment.rows - 1;
    const int end = stored_tokens(newest, kv_.recent) / kPage;
    for (int page = segment.sequence->pages(cache).stored(); page < end; ++page) {
      tasks.push_back({segment.sequence, page});
    }
  }
  if (tasks.empty()) return;
  const KvShape shape = shape_of(weights_[cache]);
  threads_.run(static_cast<int>(tasks.size()), [&](int index, int worker) {
    const Task& task = tasks[static_cast<std::size_t>(index)];
    const LayerPages& pages = task.sequence->pages(cache);
    repack(shape, {*kv_.fresh, pages.fresh_page(task.page)},
           {kv_.strategy(at(cache)), pages.page_to_store(task.page)},
           memory_.scratch[static_cast<std::size_t>(worker)]);
  });
  for (const Task& task : tasks) task.sequence->set_stored(cache, task.page + 1);
}

namespace {

// So many queries share the pages of a split while they are in a cache of the thread's own.
constexpr int kTileQueries = 32;

}  // namespace

/// The tile's queries, scaled, in the space of the stored keys: [rows, group, head_dim].
void ForwardOps::gather_queries(const AttentionTile& tile, int first_row, const Data& q,
                                const AttentionSpec& spec, float* queries) const {
  const std::size_t size =
      static_cast<std::size_t>(tile.group) * static_cast<std::size_t>(tile.shape.head_dim);
  for (int r = 0; r < tile.rows; ++r) {
    const float* source = row(q, first_row + r) + static_cast<std::size_t>(tile.kv_head) * size;
    float* target = queries + static_cast<std::size_t>(r) * size;
    for (std::size_t i = 0; i < size; ++i) target[i] = source[i] * spec.scale;
  }
  tile.kv->transform_queries(tile.shape, queries, tile.queries());
}

/// The output of one query; `states` are its own with each of the placed tiles, and the first takes
/// up the others.
void ForwardOps::scatter_output(const PlacedTile& placed, int query,
                                std::span<const SoftmaxState> states, const Data& out) const {
  const AttentionTile& tile = placed.tiles[0];
  const int head_dim = tile.shape.head_dim;
  const SoftmaxState& state = states[0];
  for (std::size_t i = 0; i < states.size(); ++i) {
    placed.tiles[i].kv->transform_outputs(tile.shape, states[i].sums, 1);
    if (i != 0) join_softmax(state, states[i], 1, head_dim);
  }
  float* to =
      row(out, placed.first_row + query / tile.group) +
      static_cast<std::ptrdiff_t>(tile.kv_head * tile.group + query % tile.group) * head_dim;
  for (int i = 0; i < head_dim; ++i) to[i] = state.sums[i] / *state.totals;
}

/// Each task attends with one tile over all its keys, split after split.
void ForwardOps::attend_by_tile(std::span<const PlacedTile> tiles, const Data& q, const Data& out,
                                const AttentionSpec& spec, bool is_shared) {
  const auto run = [&](int index, int worker) {
    const PlacedTile& placed = tiles[static_cast<std::size_t>(index)];
    const int queries = placed.tiles[0].queries();
    const int dim = placed.tiles[0].shape.head_dim;
    const std::size_t state_size = SoftmaxState::floats(queries, dim);
    const std::size_t query_size =
        static_cast<std::size_t>(queries) * static_cast<std::size_t>(dim);
    std::vector<float>& scratch = memory_.scratch[static_cast<std::size_t>(worker)];
    const std::size_t scores_size = split_scores(placed.tiles[0]);
    scratch.resize(3 * state_size + query_size + scores_size);
    float* turned = scratch.data();
    float* scores = turned + query_size;
    float* memory = scores + scores_size;
    const SoftmaxState next = SoftmaxState::in(memory, queries);
    std::array<SoftmaxState, 2> states;
    const std::span<const AttentionTile> parts = placed.parts();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const AttentionTile& tile = parts[i];
      const SoftmaxState state = states[i] = SoftmaxState::in(memory += state_size, queries);
      gather_queries(tile, placed.first_row, q, spec, turned);
      state.clear(queries, dim);
      attend_split(tile, tile.first_split(), turned, scores, state);
      for (int split = tile.first_split() + 1; split < tile.last_split(); ++split) {
        next.clear(queries, dim);
        attend_split(tile, split, turned, scores, next);
        join_softmax(state, next, queries, dim);
      }
    }
    for (int query = 0; query < queries; ++query) {
      std::array<SoftmaxState, 2> own;
      for (std::size_t i = 0; i < parts.size(); ++i) own[i] = states[i].of_query(query, dim);
      scatter_output(placed, query, std::span(own).first(parts.size()), out);
    }
  };
  if (is_shared) {
    threads_.run(static_cast<int>(tiles.size()), run);
  } else {
    for (int index = 0; index < static_cast<int>(tiles.size()); ++index) run(index, 0);
  }
}

/// Each task attends with one tile over one split: for few rows that meet long caches.
void ForwardOps::attend_by_split(std::span<const PlacedTile> tiles, const Data& q, const Data& out,
                                 const AttentionSpec& spec) {
  struct Task {
    const AttentionTile* tile;
    int first_row;
    int split;
  };
  std::vector<Task> tasks;
  std::vector<SoftmaxState> states;
  for (const PlacedTile& placed : tiles) {
    for (const AttentionTile& tile : placed.parts()) {
      for (int split = tile.first_split(); split < tile.last_split(); ++split) {
        float* memory = arena_->allocate(SoftmaxState::floats(tile.queries(), tile.shape.head_dim));
        tasks.push_back({&tile, placed.first_row, split});
        states.push_back(SoftmaxState::in(memory, tile.queries()));
      }
    }
  }
  threads_.run(static_cast<int>(tasks.size()), [&](int index, int worker) {
    const Task& task = tasks[static_cast<std::size_t>(index)];
    const AttentionTile& tile = *task.tile;
    const int queries = tile.queries();
    const std::size_t query_size =
        static_cast<std::size_t>(queries) * static_cast<std::size_t>(tile.shape.head_dim);
    std::vector<float>& scratch = memory_.scratch[static_cast<std::size_t>(worker)];
    scratch.resize(query_size + split_scores(tile));
    gather_queries(tile, task.first_row, q, spec, scratch.data());
    const SoftmaxState& state = states[static_cast<std::size_t>(index)];
    state.clear(queries, tile.shape.head_dim);
    attend_split(tile, task.split, scratch.data(), scratch.data() + query_size, state);
  });
  join_splits(tiles, states, out);
}

/// Joins what attend_by_split() left of each query, `states` of all splits one after another.
void ForwardOps::join_splits(std::span<const PlacedTile> tiles,
                             std::span<const SoftmaxState> states, const Data& out) {
  struct Task {
    const PlacedTile* placed;
    int query;
    std::size_t first_state;
  };
  std::vector<Task> tasks;
  std::size_t first_state = 0;
  for (const PlacedTile& placed : tiles) {
    for (int query = 0; query < placed.tiles[0].queries(); ++query) {
      tasks.push_back({&placed, query, first_state});
    }
    for (const AttentionTile& tile : placed.parts()) {
      first_state += static_cast<std::size_t>(tile.last_split() - tile.first_split());
    }
  }
  threads_.run(static_cast<int>(tasks.size()), [&](int index, int) {
    const Task& task = tasks[static_cast<std::size_t>(index)];
    const SoftmaxState* next = states.data() + task.first_state;
    std::array<SoftmaxState, 2> own;
    const std::span<const AttentionTile> parts = task.placed->parts();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const AttentionTile& tile = parts[i];
      const int dim = tile.shape.head_dim;
      own[i] = next++->of_query(task.query, dim);
      for (int split = tile.first_split() + 1; split < tile.last_split(); ++split) {
        join_softmax(own[i], next++->of_query(task.query, dim), 1, dim);
      }
    }
    scatter_output(*task.placed, task.query, std::span(own).first(parts.size()), out);
  });
}

/// Cuts the rows of the batch into tiles. Rows of a tile see the same pages stored.
std::vector<ForwardOps::PlacedTile> ForwardOps::place_tiles(KvCache cache, int group,
                                                            const AttentionSpec& spec) const {
  constexpr int kNoEnd = std::numeric_limits<int>::max();
  const KvCachePart& part = weights_[cache];
  const int tile_rows = std::max(1, kTileQueries / group);
  std::vector<PlacedTile> placed;
  for (const Segment& segment : batch_.segments) {
    if (!is_kept(segment, cache)) {
      throw Error(ErrorCode::internal, "attention over a cache that the sequence does not keep",
                  "attention", "report this to the architecture's author");
    }
    const bool is_fresh = has_fresh(segment, cache);
    for (int r = 0, rows = 0; r < segment.rows; r += rows) {
      const int position = segment.start + r;
      rows = std::min(tile_rows, segment.rows - r);
      if (is_fresh) rows = std::min(rows, next_stored(position, kv_.recent) - position);
      const int stored = !is_fresh ? kNoEnd : stored_tokens(position, kv_.recent) / kPage;
      for (int head = 0; head < part.kv_heads; ++head) {
        AttentionTile tile{&kv_.strategy(at(cache)),
                           shape_of(part),
                           segment.sequence,
                           cache,
                           head,
                           group,
                           position,
                           rows,
                           part.window,
                           part.hidden_tokens,
                           spec.soft_cap,
                           segment.visibility,
                           segment.start + segment.rows};
        PlacedTile& next = placed.emplace_back();
        next.first_row = segment.first_row + r;
        const auto add = [&](int begin, int end) {
          if (tile.choose_pages(begin, end))
            next.tiles[static_cast<std::size_t>(next.count++)] = tile;
        };
        add(0, stored);
        if (!is_fresh) continue;
        tile.kv = kv_.fresh.get();
        tile.is_fresh = true;
        add(stored, kNoEnd);
      }
    }
  }
  return placed;
}

Tensor ForwardOps::attention(KvCache cache, Tensor q, Tensor k, Tensor v,
                             const AttentionSpec& spec) {
  const KvCachePart& part = weights_[cache];
  const int kv_width = part.kv_heads * part.head_dim;
  if (!q && k) {
    append(cache, k, v);
    return {};
  }
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
  const int group = q.width / kv_width;
  const std::vector<PlacedTile> tiles = place_tiles(cache, group, spec);
  std::size_t work = 0;
  int splits = 0;
  for (const PlacedTile& placed : tiles) {
    const AttentionTile& tile = placed.tiles[0];
    work += static_cast<std::size_t>(tile.visible_end(tile.rows - 1)) *
            static_cast<std::size_t>(tile.queries() * part.head_dim);
    for (int i = 0; i < placed.count; ++i) {
      const AttentionTile& one = placed.tiles[static_cast<std::size_t>(i)];
      splits += one.last_split() - one.first_split();
    }
  }
  const bool is_shared = work > kWorthSharing && threads_.threads() > 1;
  const auto count = static_cast<int>(tiles.size());
  if (is_shared && splits > count && count < 4 * threads_.threads()) {
    attend_by_split(tiles, queries, out, spec);
  } else {
    attend_by_tile(tiles, queries, out, spec, is_shared);
  }
  return result;
}

}  // namespace quiver
