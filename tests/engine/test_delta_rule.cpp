// The gated delta rule, in steps and in chunks, against a recurrence in double and against itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/ops/delta_rule.hpp"

namespace quiver {
namespace {

constexpr float kUntouched = -77.0F;

std::size_t size(int value) {
  return static_cast<std::size_t>(value);
}

/// Random inputs of a text, with rows further apart than they are long.
struct Text {
  Text(const DeltaRuleShape& of, int length, float weakest = 0.5F)
      : shape(of), rows(length), qk_stride(size(of.key_dim) + 3), v_stride(size(of.value_dim) + 5) {
    std::mt19937 random(static_cast<unsigned>(1000 * of.key_dim + length));
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform;
    const auto fill = [&](std::vector<float>& values, std::size_t count, auto draw) {
      values.resize(count);
      for (float& value : values) value = draw();
    };
    fill(q, size(rows) * qk_stride, [&] { return normal(random); });
    fill(k, size(rows) * qk_stride, [&] { return normal(random); });
    fill(v, size(rows) * v_stride, [&] { return normal(random); });
    fill(beta, size(rows) * kGateStride, [&] { return uniform(random); });
    fill(log_decay, size(rows) * kGateStride, [&] { return -weakest * uniform(random); });
    fill(state, size(shape.key_dim) * size(shape.value_dim), [&] { return normal(random); });
    for (int r = 0; r < rows; ++r) {
      delta_rule_normalise(q.data() + size(r) * qk_stride, 1, shape.key_dim, 0.3F);
      delta_rule_normalise(k.data() + size(r) * qk_stride, 1, shape.key_dim, 1);
    }
  }

  DeltaRuleRows part(int first, int count, bool has_outputs = true) const {
    const std::size_t at = size(first);
    return {count,
            first,
            has_outputs ? q.data() + at * qk_stride : nullptr,
            k.data() + at * qk_stride,
            qk_stride,
            v.data() + at * v_stride,
            v_stride,
            beta.data() + at * kGateStride,
            log_decay.data() + at * kGateStride,
            kGateStride};
  }

  static constexpr std::size_t kGateStride = 2;
  DeltaRuleShape shape;
  int rows;
  std::size_t qk_stride;
  std::size_t v_stride;
  std::vector<float> q, k, v, beta, log_decay, state;
};

/// What a text leads to. Rows of out, delta and decay as in `Text`.
struct Outcome {
  explicit Outcome(const Text& text)
      : state(text.state),
        out(size(text.rows) * text.v_stride, kUntouched),
        delta(size(text.rows) * text.v_stride, kUntouched),
        decay(size(text.rows), kUntouched) {}
  std::vector<float> state, out, delta, decay;
};

Outcome recurrence_in_double(const Text& text) {
  Outcome result(text);
  const std::size_t keys = size(text.shape.key_dim);
  const std::size_t values = size(text.shape.value_dim);
  std::vector<double> state(text.state.begin(), text.state.end());
  for (std::size_t r = 0; r < size(text.rows); ++r) {
    const double decay = std::exp(double{text.log_decay[r * Text::kGateStride]});
    const float* k = text.k.data() + r * text.qk_stride;
    const float* q = text.q.data() + r * text.qk_stride;
    for (double& element : state) element *= decay;
    for (std::size_t c = 0; c < values; ++c) {
      double known = 0;
      for (std::size_t j = 0; j < keys; ++j) known += state[j * values + c] * double{k[j]};
      const double delta = double{text.beta[r * Text::kGateStride]} *
                           (double{text.v[r * text.v_stride + c]} - known);
      double out = 0;
      for (std::size_t j = 0; j < keys; ++j) {
        state[j * values + c] += double{k[j]} * delta;
        out += state[j * values + c] * double{q[j]};
      }
      result.delta[r * text.v_stride + c] = static_cast<float>(delta);
      result.out[r * text.v_stride + c] = static_cast<float>(out);
    }
    result.decay[r] = static_cast<float>(decay);
  }
  std::copy(state.begin(), state.end(), result.state.begin());
  return result;
}

/// Steps with `together` rows a call; the updates of one call are settled by the next one.
Outcome by_steps(const Text& text, int together, const KernelTable& table,
                 bool has_outputs = true) {
  Outcome result(text);
  std::vector<float> scratch(delta_rule_scratch(text.shape, false));
  DeltaRuleUpdates settled;
  for (int first = 0; first <= text.rows; first += together) {
    const int count = std::min(together, text.rows - first);
    const std::size_t at = size(first) * text.v_stride;
    const DeltaRuleResults results{
        result.delta.data() + at, text.v_stride, result.decay.data() + size(first), 1,
        result.out.data() + at,   text.v_stride};
    const DeltaRuleRows rows = text.part(first, count, has_outputs);
    delta_rule_steps(text.shape, result.state.data(), settled, rows, results, scratch, table);
    settled = {count, rows.k, rows.qk_stride, results.delta, text.v_stride, results.decay, 1};
  }
  delta_rule_steps(text.shape, result.state.data(), settled, text.part(0, 0), {}, scratch, table);
  return result;
}

/// Chunks of a text that comes in pieces.
Outcome by_chunks(const Text& text, int piece, const KernelTable& table, bool has_outputs = true,
                  int start = 0) {
  Outcome result(text);
  std::vector<float> scratch(delta_rule_scratch(text.shape, true));
  for (int first = 0; first < text.rows; first += piece) {
    const int count = std::min(piece, text.rows - first);
    DeltaRuleRows rows = text.part(first, count, has_outputs);
    rows.start += start;
    std::vector<float> next(result.state.size());
    delta_rule_chunks(text.shape, result.state.data(), rows, next.data(),
                      result.out.data() + size(first) * text.v_stride, text.v_stride, scratch,
                      table);
    result.state = next;
  }
  return result;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double one = std::abs(double{a[i]} - double{b[i]});
    worst = std::isnan(one) ? 1e30 : std::max(worst, one);
  }
  return worst;
}

const std::vector<DeltaRuleShape>& shapes() {
  static const std::vector<DeltaRuleShape> kShapes = {{1, 1},   {16, 16},  {24, 40},  {40, 24},
                                                      {17, 33}, {64, 100}, {128, 128}};
  return kShapes;
}

class DeltaRule : public testing::TestWithParam<const KernelTable*> {};

TEST_P(DeltaRule, steps_agree_with_a_recurrence_in_double) {
  for (const DeltaRuleShape& shape : shapes()) {
    const Text text(shape, 20);
    const Outcome want = recurrence_in_double(text);
    const Outcome got = by_steps(text, 1, *GetParam());
    const auto name = testing::Message() << shape.key_dim << " x " << shape.value_dim;
    EXPECT_LT(difference(got.out, want.out), 1e-5) << name;
    EXPECT_LT(difference(got.delta, want.delta), 1e-5) << name;
    EXPECT_LT(difference(got.decay, want.decay), 1e-6) << name;
    EXPECT_LT(difference(got.state, want.state), 1e-5) << name;
  }
}

TEST_P(DeltaRule, chunks_agree_with_a_recurrence_in_double) {
  for (const DeltaRuleShape& shape : shapes()) {
    for (const int rows : {1, 7, kDeltaRuleChunk, kDeltaRuleChunk + 1, 3 * kDeltaRuleChunk - 5}) {
      const Text text(shape, rows);
      const Outcome want = recurrence_in_double(text);
      const auto name = testing::Message()
                        << shape.key_dim << " x " << shape.value_dim << ", " << rows << " rows";
      for (const int start : {0, 13}) {
        const Outcome got = by_chunks(text, rows, *GetParam(), true, start);
        EXPECT_LT(difference(got.out, want.out), 1e-5) << name << " from " << start;
        EXPECT_LT(difference(got.state, want.state), 1e-5) << name << " from " << start;
      }
    }
  }
}

TEST_P(DeltaRule, strong_and_vanishing_decays_keep_their_precision) {
  Text text({24, 40}, 150);
  std::mt19937 random(3);
  constexpr float kDecays[] = {0, -1e-7F, -1e-3F, -0.5F, -8, -30, -50, -90};
  for (std::size_t r = 0; r < 150; ++r) {
    // Weak ones behind a very strong one, and all kinds mixed.
    const bool is_mixed = r >= 70;
    text.log_decay[r * Text::kGateStride] = is_mixed ? kDecays[random() % 8]
                                            : r == 3 ? -2000
                                                     : -1e-3F;
  }
  const Outcome want = recurrence_in_double(text);
  const Outcome steps = by_steps(text, 3, *GetParam());
  EXPECT_LT(difference(steps.out, want.out), 1e-5);
  EXPECT_LT(difference(steps.state, want.state), 1e-5);
  const Outcome chunks = by_chunks(text, 150, *GetParam());
  EXPECT_LT(difference(chunks.out, want.out), 1e-5);
  EXPECT_LT(difference(chunks.state, want.state), 1e-5);
}

TEST_P(DeltaRule, nothing_but_the_strongest_decays_gives_zeros_not_nans) {
  Text text({16, 16}, kDeltaRuleChunk + 3);
  std::fill(text.log_decay.begin(), text.log_decay.end(), -3e38F);
  const Outcome want = recurrence_in_double(text);
  EXPECT_LT(difference(by_chunks(text, text.rows, *GetParam()).out, want.out), 1e-5);
  EXPECT_LT(difference(by_steps(text, 2, *GetParam()).out, want.out), 1e-5);
}

TEST_P(DeltaRule, steps_have_the_same_bits_however_they_are_split) {
  for (const DeltaRuleShape& shape : shapes()) {
    const Text text(shape, 12);
    const Outcome want = by_steps(text, 1, *GetParam());
    for (const int together : {2, 3, 4, 5, 12}) {
      const Outcome got = by_steps(text, together, *GetParam());
      ASSERT_EQ(got.out, want.out) << together;
      ASSERT_EQ(got.delta, want.delta) << together;
      ASSERT_EQ(got.decay, want.decay) << together;
      ASSERT_EQ(got.state, want.state) << together;
    }
  }
}

TEST_P(DeltaRule, keeping_some_rows_of_a_tentative_call_is_having_fed_only_those) {
  const Text text({40, 72}, 6);
  for (int kept = 0; kept <= 5; ++kept) {
    std::vector<float> scratch(delta_rule_scratch(text.shape, false));
    Outcome result(text);
    const DeltaRuleResults results{result.delta.data(), text.v_stride, result.decay.data(), 1,
                                   result.out.data(),   text.v_stride};
    delta_rule_steps(text.shape, result.state.data(), {}, text.part(0, 6), results, scratch,
                     *GetParam());
    EXPECT_EQ(result.state, text.state) << "a tentative call changed the state";
    delta_rule_steps(text.shape, result.state.data(),
                     {kept, text.k.data(), text.qk_stride, result.delta.data(), text.v_stride,
                      result.decay.data(), 1},
                     text.part(0, 0), {}, scratch, *GetParam());
    Text fed = text;
    fed.rows = kept;
    EXPECT_EQ(result.state, by_steps(fed, 1, *GetParam()).state) << kept;
  }
}

TEST_P(DeltaRule, chunks_of_pieces_that_are_cut_on_the_grid_have_the_bits_of_the_whole) {
  for (const DeltaRuleShape& shape : shapes()) {
    const Text text(shape, 4 * kDeltaRuleChunk + 9);
    const Outcome want = by_chunks(text, text.rows, *GetParam());
    for (const int piece : {kDeltaRuleChunk, 3 * kDeltaRuleChunk}) {
      const Outcome got = by_chunks(text, piece, *GetParam());
      ASSERT_EQ(got.out, want.out) << piece;
      ASSERT_EQ(got.state, want.state) << piece;
    }
  }
}

TEST_P(DeltaRule, outputs_of_a_chunk_do_not_depend_on_later_rows) {
  const Text text({24, 40}, kDeltaRuleChunk);
  const Outcome whole = by_chunks(text, text.rows, *GetParam());
  for (int rows = 1; rows < text.rows; ++rows) {
    Text shorter = text;
    shorter.rows = rows;
    const Outcome got = by_chunks(shorter, rows, *GetParam());
    ASSERT_TRUE(std::equal(got.out.begin(), got.out.end(), whole.out.begin())) << rows;
  }
}

TEST_P(DeltaRule, tables_agree) {
  for (const DeltaRuleShape& shape : shapes()) {
    const Text text(shape, 2 * kDeltaRuleChunk + 21);
    const Outcome generic = by_steps(text, 4, *available_kernels().back());
    const Outcome steps = by_steps(text, 4, *GetParam());
    ASSERT_EQ(steps.out, generic.out);
    ASSERT_EQ(steps.state, generic.state);
    const Outcome chunks = by_chunks(text, text.rows, *GetParam());
    EXPECT_LT(difference(chunks.out, generic.out), 1e-5);
    if (GetParam() == available_kernels().back()) continue;
    const Outcome best = by_chunks(text, text.rows, *available_kernels().front());
    ASSERT_EQ(chunks.out, best.out);
    ASSERT_EQ(chunks.state, best.state);
  }
}

TEST_P(DeltaRule, rows_without_queries_lead_to_the_same_states) {
  for (const DeltaRuleShape& shape : shapes()) {
    const Text text(shape, kDeltaRuleChunk + 9);
    const Outcome steps = by_steps(text, 4, *GetParam(), false);
    EXPECT_EQ(steps.state, by_steps(text, 4, *GetParam()).state);
    const Outcome chunks = by_chunks(text, text.rows, *GetParam(), false);
    EXPECT_EQ(chunks.state, by_chunks(text, text.rows, *GetParam()).state);
    for (const Outcome* outcome : {&steps, &chunks}) {
      for (const float value : outcome->out) ASSERT_EQ(value, kUntouched);
    }
  }
}

TEST_P(DeltaRule, nothing_is_written_between_rows) {
  const Text text({24, 40}, 70);
  const Outcome steps = by_steps(text, 4, *GetParam());
  const Outcome chunks = by_chunks(text, 70, *GetParam());
  for (std::size_t at = 40; at < steps.out.size(); ++at) {
    if (at % text.v_stride < 40) continue;
    ASSERT_EQ(steps.out[at], kUntouched);
    ASSERT_EQ(steps.delta[at], kUntouched);
    ASSERT_EQ(chunks.out[at], kUntouched);
  }
}

TEST_P(DeltaRule, no_rows_leave_the_state_as_it_is) {
  const Text text({24, 40}, 1);
  std::vector<float> state = text.state;
  std::vector<float> scratch(delta_rule_scratch(text.shape, true));
  delta_rule_steps(text.shape, state.data(), {}, text.part(0, 0), {}, scratch, *GetParam());
  EXPECT_EQ(state, text.state);
  std::vector<float> next(state.size());
  delta_rule_chunks(text.shape, state.data(), text.part(0, 0), next.data(), nullptr, 0, scratch,
                    *GetParam());
  EXPECT_EQ(next, text.state);
}

TEST_P(DeltaRule, normalised_heads_have_the_length_of_the_scale) {
  for (const int width : {1, 16, 24, 40, 128}) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, 3);
    std::vector<float> heads(3 * size(width));
    for (float& value : heads) value = normal(random);
    std::fill_n(heads.begin() + width, width, 0.0F);
    std::vector<float> got = heads;
    delta_rule_normalise(got.data(), 3, width, 0.25F, *GetParam());
    for (std::size_t head = 0; head < 3; ++head) {
      double squares = 0;
      const std::size_t first = head * size(width);
      for (std::size_t i = first; i < first + size(width); ++i)
        squares += double{heads[i]} * heads[i];
      for (std::size_t i = first; i < first + size(width); ++i) {
        ASSERT_NEAR(got[i], heads[i] * 0.25 / std::sqrt(squares + 1e-6), 1e-7);
      }
    }
    std::vector<float> generic = heads;
    delta_rule_normalise(generic.data(), 3, width, 0.25F, *available_kernels().back());
    EXPECT_EQ(got, generic);
  }
}

TEST(DeltaRuleGates, are_right_for_small_and_for_large_inputs) {
  const std::vector<float> x = {0,   1e-6F, -1e-6F, 1,   -1,   5,    -5,    20,
                                -20, 80,    -80,    120, -120, 1e4F, -1e4F, 3e38F};
  const int heads = static_cast<int>(x.size());
  for (const float a_log : {-4.0F, 0.0F, 2.7F}) {
    const std::vector<float> a_logs(x.size(), a_log);
    const std::vector<float> biases(x.size(), 0.5F);
    std::vector<float> beta(x.size());
    std::vector<float> log_decay(x.size());
    delta_rule_gates(heads, x.data(), x.data(), a_logs.data(), biases.data(), beta.data(),
                     log_decay.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double sigmoid = 1 / (1 + std::exp(-double{x[i]}));
      EXPECT_NEAR(beta[i], sigmoid, 1e-6 * sigmoid + 1e-37) << x[i];
      const double z = double{x[i] + 0.5F};
      const double softplus = z > 30 ? z : std::log1p(std::exp(z));
      // The decay is what counts: where it is 0 the exponent may be anything that is finite.
      const double want = -std::exp(double{a_log}) * softplus;
      EXPECT_TRUE(std::isfinite(log_decay[i])) << x[i];
      EXPECT_NEAR(std::max(log_decay[i], -1e30F), std::max(want, -1e30),
                  1e-6 * std::min(-want, 1e30) + 1e-37)
          << x[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(all, DeltaRule,
                         testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace quiver
