// The reference package's allocations and static scores, from its recorded tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <string>

#include "core/model/json_file.hpp"
#include "core/quantize/allocate_greedy.hpp"
#include "core/quantize/layer_names.hpp"
#include "core/quantize/sensitivity_table.hpp"
#include "core/quantize/static_scores.hpp"

namespace quiver::test {
namespace {

using Json = nlohmann::json;

const std::string kFolder = QUIVER_SHARED_DIR "/reference/convert/";

/// The recorded tables use other words than the files that the package writes.
AllocationProblem problem_of(const Json& layers, const char* values, std::vector<int> bits) {
  Json list = Json::array();
  for (const Json& layer : layers) {
    list.push_back({{"name", layer.at("layer")},
                    {"parameters", layer.at("params")},
                    {"kl", layer.at(values)}});
  }
  CandidateWidths widths;
  widths.bits = std::move(bits);
  return allocation_problem(read_sensitivity({{"layers", list}}, "recorded"), widths);
}

void expect_recorded(const AllocationProblem& problem, const Json& recorded, int floor,
                     const std::string& label) {
  const Allocation found =
      allocate_greedy(problem, {recorded.at("target_bpw").get<double>(), floor});
  EXPECT_EQ(found.bpw_linear, recorded.at("achieved_bpw").get<double>()) << label;
  ASSERT_EQ(recorded.at("bits").size(), problem.units.size()) << label;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    const AllocationUnit& unit = problem.units[u];
    EXPECT_EQ(unit.choices[found.choices[u]].bits, recorded.at("bits").at(unit.name).get<int>())
        << label << ", " << unit.name;
  }
}

class RecordedAllocations : public testing::TestWithParam<const char*> {
 protected:
  Json expected_ = read_json_file(kFolder + GetParam() + "/expected.json");
};

TEST_P(RecordedAllocations, are_all_reproduced_bit_for_bit) {
  std::size_t compared = 0;
  for (const Json& recorded : expected_.at("allocations")) {
    const bool is_static = recorded.at("method") == "static";
    const auto problem = problem_of(expected_.at(is_static ? "static_sensitivity" : "sensitivity"),
                                    is_static ? "score" : "kl", recorded.at("candidate_bits"));
    expect_recorded(problem, recorded, recorded.at("n_floor_per_block"),
                    recorded.dump().substr(0, 90));
    ++compared;
  }
  EXPECT_GE(compared, 12U);
}

TEST_P(RecordedAllocations, those_against_a_uniform_quantization_too) {
  const auto problem = problem_of(expected_.at("sensitivity_uniform4"), "kl", {4, 8});
  expect_recorded(problem, expected_.at("allocation_uniform4"), 2, "uniform4");
}

TEST_P(RecordedAllocations, what_the_command_wrote_follows_from_the_table_that_it_wrote) {
  const std::string folder = kFolder + GetParam() + "/converted/";
  const Json metadata = read_json_file(folder + "optiq/metadata.json");
  const auto table = read_sensitivity_file(folder + "optiq/sensitivity.json");
  const auto problem = allocation_problem(table, {});
  const Allocation found = allocate_greedy(problem, {metadata.at("target_bpw").get<double>(), 2});
  EXPECT_EQ(found.bpw_linear, metadata.at("achieved_bpw").get<double>());
  // Every entry of the written config, also of matrices that were not measured.
  const Json config = read_json_file(folder + "config.json");
  int matched = 0;
  for (const auto& [name, entry] : config.at("quantization").items()) {
    if (!entry.is_object()) continue;
    const std::ptrdiff_t u = matching_unit(problem, name);
    const int bits = u < 0 ? widest_bits(problem, found)
                           : problem.units[static_cast<std::size_t>(u)]
                                 .choices[found.choices[static_cast<std::size_t>(u)]]
                                 .bits;
    EXPECT_EQ(bits, entry.at("bits").get<int>()) << name;
    matched += u >= 0 ? 1 : 0;
  }
  EXPECT_EQ(matched, static_cast<int>(problem.units.size()));
}

TEST_P(RecordedAllocations, static_scores_are_the_recorded_ones) {
  const Json& recorded = expected_.at("static_sensitivity");
  AllocationProblem problem = problem_of(recorded, "score", {4, 8});
  for (AllocationUnit& unit : problem.units) unit.choices[0].kl = unit.choices[1].kl = -1;
  set_static_scores_by_name(problem);
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    const Json& score = recorded[u].at("score");
    EXPECT_DOUBLE_EQ(problem.units[u].choices[0].kl, score.at("4").get<double>())
        << problem.units[u].name;
    EXPECT_DOUBLE_EQ(problem.units[u].choices[1].kl, score.at("8").get<double>())
        << problem.units[u].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Convert, RecordedAllocations, testing::Values("llama_a", "qwen35_a"));

TEST(StaticScores, go_by_role_and_block_in_our_own_method) {
  AllocationProblem problem;
  const auto add = [&](Role role, int block) {
    problem.units.push_back({"unit" + std::to_string(problem.units.size()),
                             role,
                             block,
                             64,
                             {{2, 64, 20, 0}, {4, 64, 36, 0}, {8, 64, 68, 0}}});
  };
  add(Role::head, -1);
  add(Role::embedding, -1);
  add(Role::tower, -1);
  add(Role::mlp, 0);
  add(Role::attention, 1);
  add(Role::expert, 4);
  add(Role::router, 4);
  add(Role::recurrent, 5);
  add(Role::mlp, 9);
  set_static_scores(problem);
  const double expected[] = {1,
                             1,
                             .3,
                             .9,
                             .95,
                             .3 + .15 * (1 - 4 / 5.0) - .1,
                             .3 + .15 * (1 - 4 / 5.0) + .4,
                             .3 + .15 * (1 - 4 / 5.0),
                             .9};
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    EXPECT_NEAR(problem.units[u].choices[0].kl, expected[u], 1e-12) << u;
    EXPECT_NEAR(problem.units[u].choices[1].kl, expected[u] * 2 / 3, 1e-12) << u;
    EXPECT_EQ(problem.units[u].choices[2].kl, 0) << u;
  }
}

TEST(Greedy, takes_what_is_not_a_number_for_very_large) {
  AllocationProblem problem;
  for (int u = 0; u < 3; ++u) {
    problem.units.push_back(
        {"unit" + std::to_string(u), Role::other, -1, 64, {{4, 64, 36, 0.1 * u}, {8, 64, 68, 0}}});
  }
  problem.units[0].choices[0].kl = std::numeric_limits<double>::quiet_NaN();
  const Allocation found = allocate_greedy(problem, {5.0, 0});
  EXPECT_EQ(found.choices, (std::vector<std::size_t>{1, 0, 0}));
}

TEST(Greedy, refuses_layers_with_other_widths) {
  AllocationProblem problem;
  problem.units.push_back({"a", Role::other, -1, 64, {{4, 64, 36, 1}, {8, 64, 68, 0}}});
  problem.units.push_back({"b", Role::other, -1, 64, {{4, 64, 36, 1}}});
  EXPECT_THROW(allocate_greedy(problem, {}), Error);
  EXPECT_THROW(allocate_greedy({}, {}), Error);
}

TEST(LayerNames, are_read_as_the_reference_does) {
  EXPECT_EQ(block_in_name("model.layers.12.mlp.up_proj"), 12);
  EXPECT_EQ(block_in_name("layers.3"), 3);
  EXPECT_EQ(block_in_name("my_layers.3.x"), -1);
  EXPECT_EQ(block_in_name("model.layers.x.layers.4.y"), 4);
  EXPECT_EQ(block_in_name("model.layers.99999999999.y"), -1);
  EXPECT_EQ(block_in_name("lm_head"), -1);
  EXPECT_TRUE(is_attention_name("a.b.linear_attn.in_proj_qkv"));
  EXPECT_FALSE(is_attention_name("a.q_proj.b"));
  EXPECT_TRUE(is_end_name("model.embed_tokens"));
  EXPECT_FALSE(is_end_name("model.layers.0.head"));
  EXPECT_TRUE(is_router_name("model.layers.0.mlp.gate"));
  EXPECT_TRUE(is_router_name("model.layers.0.router.proj"));
  EXPECT_FALSE(is_router_name("model.layers.0.mlp.gate_proj"));
  EXPECT_TRUE(is_shared_expert_name("model.layers.0.mlp.shared_expert.up_proj"));
  EXPECT_TRUE(is_shared_expert_name("model.layers.0.mlp.shared_experts.up_proj"));
  EXPECT_FALSE(is_shared_expert_name("model.layers.0.mlp.shared_expert_gate"));
}

}  // namespace
}  // namespace quiver::test
