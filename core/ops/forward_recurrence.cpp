// Recurrences of ForwardOps: rows of each sequence in order, through the state that it keeps.
#include <cmath>
#include <vector>

#include "core/ops/delta_rule.hpp"
#include "core/ops/forward_ops_inline.hpp"

namespace quiver {
namespace {

/// What one segment's rows read and leave behind.
struct SegmentState {
  const Segment* segment;
  RecurrentState* state;
  std::vector<float> updates;  // of rows that may be taken back
  std::vector<float> next;     // behind rows that are computed together
};

/// Where a segment's rows lie, from its first on.
struct SegmentRows {
  const float* prepared;  // see prepare_delta_rule()
  std::size_t prepared_stride;
  const float* raw;  // [q | k | v] as they came
  std::size_t raw_stride;
  float* out;
  std::size_t out_stride;
};

std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

/// The settled updates of one value head, whose key begins at `key` of a row's keys.
DeltaRuleUpdates updates_of(const DeltaRulePart& part, const std::vector<float>& updates, int head,
                            std::size_t key) {
  const std::size_t size = part.update_size();
  DeltaRuleUpdates result;
  result.rows = static_cast<int>(updates.size() / size);
  result.k = updates.data() + key;
  result.delta = updates.data() + part.keys_size() + at(head) * at(part.spec.value_dim);
  result.decay = updates.data() + part.keys_size() + part.values_size() + head;
  result.k_stride = result.delta_stride = result.decay_stride = size;
  return result;
}

/// One value head of one segment.
void run_head(const DeltaRulePart& part, SegmentState& own, const SegmentRows& in, int head,
              std::vector<float>& scratch) {
  const DeltaRuleShape shape{part.spec.key_dim, part.spec.value_dim};
  const std::size_t keys = part.keys_size();
  const std::size_t key =
      at(head / (part.spec.value_heads / part.spec.key_heads)) * at(shape.key_dim);
  const std::size_t value = at(head) * at(shape.value_dim);
  DeltaRuleRows rows;
  rows.rows = own.segment->rows;
  rows.start = own.segment->start;
  rows.q = in.prepared + key;
  rows.k = in.prepared + keys + key;
  rows.beta = in.prepared + 2 * keys + head;
  rows.log_decay = rows.beta + part.spec.value_heads;
  rows.qk_stride = rows.gate_stride = in.prepared_stride;
  rows.v = in.raw + 2 * keys + value;
  rows.v_stride = in.raw_stride;
  float* state = own.state->values.data() + at(head) * part.head_size();
  const DeltaRuleUpdates due = updates_of(part, own.state->updates, head, key);
  const bool is_whole = !own.next.empty();
  scratch.resize(std::max(scratch.size(), delta_rule_scratch(shape, is_whole)));
  if (is_whole) {
    if (due.rows > 0) {
      delta_rule_steps(shape, state, due, {}, {},
                       std::span(scratch).first(delta_rule_scratch(shape, false)));
    }
    float* next = own.next.data() + at(head) * part.head_size();
    delta_rule_chunks(shape, state, rows, next, in.out + value, in.out_stride, scratch);
    return;
  }
  DeltaRuleResults results;
  results.delta = own.updates.data() + keys + value;
  results.decay = own.updates.data() + keys + part.values_size() + head;
  results.delta_stride = results.decay_stride = part.update_size();
  results.out = in.out + value;
  results.out_stride = in.out_stride;
  delta_rule_steps(shape, state, due, rows, results, scratch);
}

}  // namespace

/// Rows of [q | k | beta | log decay]: heads of length 1, gates as the recurrence takes them.
Tensor ForwardOps::prepare_delta_rule(Tensor qkv, Tensor a, Tensor b, const DeltaRulePart& part) {
  const int heads = part.spec.value_heads;
  const auto keys = static_cast<int>(part.keys_size());
  const Tensor prepared = make(data(qkv, "gated_delta_rule").rows, 2 * keys + 2 * heads);
  const Data& in = data(qkv, "gated_delta_rule");
  const Data& gates_a = data(a, "gated_delta_rule");
  const Data& gates_b = data(b, "gated_delta_rule");
  const Data& out = data(prepared, "gated_delta_rule");
  const float scale = 1.0F / std::sqrt(static_cast<float>(part.spec.key_dim));
  for_rows(in.rows, at(4 * keys + 64 * heads), [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      float* target = row(out, r);
      std::copy_n(row(in, r), 2 * keys, target);
      delta_rule_normalise(target, part.spec.key_heads, part.spec.key_dim, scale);
      delta_rule_normalise(target + keys, part.spec.key_heads, part.spec.key_dim, 1);
      delta_rule_gates(heads, row(gates_a, r), row(gates_b, r), part.a_log.data(),
                       part.dt_bias.data(), target + 2 * keys, target + 2 * keys + heads);
    }
  });
  return prepared;
}

Tensor ForwardOps::gated_delta_rule(Tensor qkv, Tensor a, Tensor b, DeltaRule rule) {
  const DeltaRulePart& part = weights_[rule];
  const int heads = part.spec.value_heads;
  const std::size_t keys = part.keys_size();
  const std::size_t values = part.values_size();
  if (at(qkv.width) != 2 * keys + values || a.width != heads || b.width != heads) {
    throw Error(ErrorCode::internal,
                fmt::format("gated_delta_rule on tensors of width {}, {} and {}", qkv.width,
                            a.width, b.width),
                part.name, "report this to the architecture's author");
  }
  const Tensor prepared = prepare_delta_rule(qkv, a, b, part);
  const Tensor result = make(data(qkv, "gated_delta_rule").rows, static_cast<int>(values));
  const Data& raw = data(qkv, "gated_delta_rule");
  const Data& in = data(prepared, "gated_delta_rule");
  const Data& out = data(result, "gated_delta_rule");
  std::vector<SegmentState> segments;
  for (const Segment& segment : batch_.segments) {
    SegmentState& added =
        segments.emplace_back(SegmentState{&segment, &segment.sequence->recurrence(rule), {}, {}});
    added.state->values.resize(part.state_size());
    if (segment.form == RowForm::prompt) {
      added.next.resize(part.state_size());
    } else {
      added.updates.resize(at(segment.rows) * part.update_size());
    }
  }
  threads_.run(static_cast<int>(segments.size()) * heads, [&](int task, int worker) {
    SegmentState& own = segments[at(task / heads)];
    const int first = own.segment->first_row;
    run_head(part, own,
             {row(in, first), at(in.width), row(raw, first), at(raw.width), row(out, first),
              at(out.width)},
             task % heads, memory_.scratch[at(worker)]);
  });
  for (SegmentState& own : segments) {
    own.state->updates.clear();
    if (!own.next.empty()) {
      own.segment->sequence->record_whole(rule, std::move(own.next));
      continue;
    }
    for (int r = 0; r < own.segment->rows; ++r) {
      std::copy_n(row(in, own.segment->first_row + r) + keys, keys,
                  own.updates.data() + at(r) * part.update_size());
    }
    own.segment->sequence->record(rule, std::move(own.updates));
  }
  return result;
}

}  // namespace quiver
