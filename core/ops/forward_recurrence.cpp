// Recurrences of ForwardOps: rows of each sequence in order, through the state that it keeps.
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

std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

/// The updates that stand in `updates`, row by row, for one value head.
DeltaRuleUpdates updates_of(const DeltaRulePart& part, const std::vector<float>& updates,
                            int head) {
  const std::size_t size = part.update_size();
  const float* row = updates.data();
  const int key_head = head / (part.spec.value_heads / part.spec.key_heads);
  DeltaRuleUpdates result{};
  result.rows = static_cast<int>(updates.size() / size);
  if (result.rows == 0) return result;
  result.k = row + at(key_head) * at(part.spec.key_dim);
  result.delta = row + part.keys_size() + at(head) * at(part.spec.value_dim);
  result.decay = row + part.keys_size() + part.values_size() + head;
  result.k_stride = result.delta_stride = result.decay_stride = size;
  return result;
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
  for_rows(in.rows, at(4 * keys + 64 * heads), [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      float* target = row(out, r);
      std::copy_n(row(in, r), 2 * keys, target);
      delta_rule_normalize(target, target + keys, part.spec.key_heads, part.spec.key_dim);
      delta_rule_gates(row(gates_a, r), row(gates_b, r), part.a_log.data(), part.dt_bias.data(),
                       heads, target + 2 * keys, target + 2 * keys + heads);
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
  const DeltaRuleShape shape{part.spec.key_dim, part.spec.value_dim};
  threads_.run(static_cast<int>(segments.size()) * heads, [&](int task, int worker) {
    SegmentState& own = segments[at(task / heads)];
    const Segment& segment = *own.segment;
    const int head = task % heads;
    const std::size_t key = at(head / (heads / part.spec.key_heads)) * at(shape.key_dim);
    const std::size_t value = at(head) * at(shape.value_dim);
    const float* first = row(in, segment.first_row);
    DeltaRuleRows rows{};
    rows.rows = segment.rows;
    rows.start = segment.start;
    rows.q = first + key;
    rows.k = first + keys + key;
    rows.qk_stride = rows.gate_stride = at(in.width);
    rows.v = row(raw, segment.first_row) + 2 * keys + value;
    rows.v_stride = at(raw.width);
    rows.beta = first + 2 * keys + head;
    rows.log_decay = rows.beta + heads;
    float* outputs = row(out, segment.first_row) + value;
    float* state = own.state->values.data() + at(head) * part.head_size();
    const DeltaRuleUpdates due = updates_of(part, own.state->updates, head);
    const bool is_whole = !own.next.empty();
    std::vector<float>& scratch = memory_.scratch[at(worker)];
    scratch.resize(std::max(scratch.size(), delta_rule_scratch(shape, is_whole)));
    if (is_whole) {
      DeltaRuleRows none = rows;
      none.rows = 0;
      if (due.rows > 0) {
        delta_rule_steps(shape, state, due, none, nullptr, 0, nullptr, 0, nullptr, 0, scratch);
      }
      delta_rule_chunks(shape, state, rows, own.next.data() + at(head) * part.head_size(), outputs,
                        values, scratch);
      return;
    }
    const std::size_t size = part.update_size();
    float* delta = own.updates.data() + keys + value;
    float* decay = own.updates.data() + keys + values + head;
    delta_rule_steps(shape, state, due, rows, delta, size, decay, size, outputs, values, scratch);
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
