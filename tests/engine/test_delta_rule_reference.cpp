// The gated delta rule against the activations of a reference implementation's layer.
#include <gtest/gtest.h>

#include <cmath>

#include "core/ops/delta_rule.hpp"
#include "tests/support/numbers.hpp"

namespace quiver {
namespace {

/// A layer of the reference: 11 rows, 2 key heads of 24, 4 value heads of 32; from no state.
class DeltaRuleReference : public testing::Test {
 protected:
  static constexpr int kRows = 11;
  static constexpr std::size_t kKeyHeads = 2;
  static constexpr std::size_t kValueHeads = 4;
  static constexpr DeltaRuleShape kShape{24, 32};
  static constexpr std::size_t kChannels = 2 * kKeyHeads * 24 + kValueHeads * 32;
  static constexpr double kTolerance = 1e-6;

  std::vector<float> read(const std::string& name) const {
    return test::floats(file_, "short.layer1." + name);
  }

  /// Inputs of one value head, straight out of the convolution's rows.
  DeltaRuleRows rows(std::size_t head) const {
    const std::size_t key_head = head / (kValueHeads / kKeyHeads);
    return {kRows,
            0,
            conv_.data() + 24 * key_head,
            conv_.data() + 24 * (kKeyHeads + key_head),
            kChannels,
            conv_.data() + 24 * 2 * kKeyHeads + 32 * head,
            kChannels,
            beta_.data() + head,
            log_decay_.data() + head,
            kValueHeads};
  }

  void SetUp() override {
    conv_ = read("conv_silu");
    const auto scale = static_cast<float>(1 / std::sqrt(24.0));
    for (std::size_t r = 0; r < kRows; ++r) {
      delta_rule_normalise(conv_.data() + r * kChannels, kKeyHeads, 24, scale);
      delta_rule_normalise(conv_.data() + r * kChannels + 24 * kKeyHeads, kKeyHeads, 24, 1);
    }
    beta_ = read("beta");
    log_decay_ = read("g_log");
  }

  /// [value head, key_dim, value_dim] beside the reference's, and outputs [row, value head,
  /// value_dim].
  void expect_outcome(const std::vector<float>& states, const std::vector<float>& out) const {
    EXPECT_LT(test::largest_difference(states, read("recurrent_state_after")), kTolerance);
    EXPECT_LT(test::largest_difference(out, read("core_attn_out")), kTolerance);
  }

  const SafetensorsFile file_ = SafetensorsFile::open(
      std::filesystem::path(QUIVER_SHARED_DIR) / "reference/qwen3_5/text/expected.safetensors");
  std::vector<float> conv_, beta_, log_decay_;
};

TEST_F(DeltaRuleReference, heads_are_normalised_as_there) {
  const std::vector<float> q = read("q_l2_scaled");
  const std::vector<float> k = read("k_l2");
  const std::size_t width = 24 * kKeyHeads;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t i = 0; i < width; ++i) {
      ASSERT_NEAR(conv_[r * kChannels + i], q[r * width + i], 1e-7);
      ASSERT_NEAR(conv_[r * kChannels + width + i], k[r * width + i], 1e-7);
    }
  }
}

TEST_F(DeltaRuleReference, gates_are_as_there) {
  const SafetensorsFile weights =
      SafetensorsFile::open(std::filesystem::path(QUIVER_SHARED_DIR) /
                            "reference/qwen3_5/text/checkpoint/model.safetensors");
  const auto weight = [&](const std::string& name) {
    return test::floats(weights, "model.layers.1.linear_attn." + name);
  };
  const std::vector<float> a_log = weight("A_log");
  const std::vector<float> dt_bias = weight("dt_bias");
  const std::vector<float> a = read("in_proj_a");
  const std::vector<float> b = read("in_proj_b");
  std::vector<float> beta(beta_.size());
  std::vector<float> log_decay(log_decay_.size());
  for (std::size_t at = 0; at < beta.size(); at += kValueHeads) {
    delta_rule_gates(kValueHeads, a.data() + at, b.data() + at, a_log.data(), dt_bias.data(),
                     beta.data() + at, log_decay.data() + at);
  }
  EXPECT_LT(test::largest_difference(beta, beta_), kTolerance);
  EXPECT_LT(test::largest_difference(log_decay, log_decay_), kTolerance);
}

TEST_F(DeltaRuleReference, steps_lead_there) {
  std::vector<float> states(kValueHeads * 24 * 32);
  std::vector<float> out(kRows * kValueHeads * 32);
  std::vector<float> delta(kRows * 32);
  std::vector<float> decay(kRows);
  std::vector<float> scratch(delta_rule_scratch(kShape, false));
  for (std::size_t head = 0; head < kValueHeads; ++head) {
    float* state = states.data() + head * 24 * 32;
    const DeltaRuleRows all = rows(head);
    delta_rule_steps(kShape, state, {}, all,
                     {delta.data(), 32, decay.data(), 1, out.data() + 32 * head, 32 * kValueHeads},
                     scratch);
    delta_rule_steps(kShape, state,
                     {kRows, all.k, all.qk_stride, delta.data(), 32, decay.data(), 1}, {}, {},
                     scratch);
  }
  expect_outcome(states, out);
}

TEST_F(DeltaRuleReference, chunks_lead_there) {
  std::vector<float> states(kValueHeads * 24 * 32);
  std::vector<float> out(kRows * kValueHeads * 32);
  const std::vector<float> empty(24 * 32);
  std::vector<float> scratch(delta_rule_scratch(kShape, true));
  for (std::size_t head = 0; head < kValueHeads; ++head) {
    delta_rule_chunks(kShape, empty.data(), rows(head), states.data() + head * 24 * 32,
                      out.data() + 32 * head, 32 * kValueHeads, scratch);
  }
  expect_outcome(states, out);
}

}  // namespace
}  // namespace quiver
