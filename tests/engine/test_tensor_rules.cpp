// Tensor rules: patterns, order, conditions and parameters.
#include <gtest/gtest.h>

#include "core/model/model_config.hpp"
#include "core/model/tensor_rules.hpp"

namespace quiver {
namespace {

constexpr TensorRule kRules[] = {
    {TensorRuleKind::drop, "head.*", nullptr, nullptr, "tied"},
    {TensorRuleKind::drop, "tail", nullptr, nullptr, "!tied"},
    {TensorRuleKind::rename_deinterleave_heads, "blk.*.q.*", "layers.*.q_proj.*", "heads", nullptr},
    {TensorRuleKind::rename, "blk.*.v_*.w", "layers.*.*.weight", nullptr, nullptr},
};

AppliedRule apply(std::string_view name, const char* config = R"({"heads": 3})") {
  return apply_rules(kRules, name, ModelConfig::parse(config, "config.json"));
}

TEST(TensorRules, stars_are_carried_over_in_order) {
  EXPECT_EQ(apply("blk.12.v_a.w").name, "layers.12.a.weight");
  const AppliedRule rule = apply("blk.3.q.weight");
  EXPECT_EQ(rule.name, "layers.3.q_proj.weight");
  EXPECT_EQ(rule.kind, TensorRuleKind::rename_deinterleave_heads);
  EXPECT_EQ(rule.heads, 3);
}

TEST(TensorRules, a_star_matches_one_or_more_characters_but_no_dot) {
  EXPECT_EQ(apply("blk.1.2.v_a.w").name, "blk.1.2.v_a.w");
  EXPECT_EQ(apply("blk..v_a.w").name, "blk..v_a.w");
  EXPECT_EQ(apply("blk.1.v_.w").name, "blk.1.v_.w");
}

TEST(TensorRules, two_stars_at_the_end_of_a_dropped_name_match_any_rest) {
  constexpr TensorRule kTowers[] = {
      {TensorRuleKind::drop_tower, "*.visual.**", nullptr, nullptr, nullptr}};
  const auto kind = [&](std::string_view name) {
    return apply_rules(kTowers, name, ModelConfig::parse("{}", "config.json")).kind;
  };
  EXPECT_EQ(kind("model.visual.blocks.0.attn.weight"), TensorRuleKind::drop_tower);
  EXPECT_EQ(kind("model.visual.x"), TensorRuleKind::drop_tower);
  EXPECT_EQ(kind("model.visual."), TensorRuleKind::rename);
  EXPECT_EQ(kind("a.model.visual.x"), TensorRuleKind::rename);
}

TEST(TensorRules, conditions_decide_whether_a_rule_holds) {
  EXPECT_EQ(apply("head.weight", R"({"tied": true})").kind, TensorRuleKind::drop);
  EXPECT_EQ(apply("head.weight", R"({"tied": false})").name, "head.weight");
  EXPECT_EQ(apply("tail", R"({})").kind, TensorRuleKind::drop);
  EXPECT_EQ(apply("tail", R"({"tied": true})").name, "tail");
}

TEST(TensorRules, a_missing_parameter_is_an_error) {
  EXPECT_ANY_THROW(apply("blk.3.q.weight", "{}"));
}

}  // namespace
}  // namespace quiver
