// Sensitivity tables of all shapes, and what is wrong with others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

#include "core/model/json_file.hpp"
#include "core/quantize/sensitivity_table.hpp"

namespace quiver::test {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

TEST(SensitivityTable, our_own_form_may_say_roles_sizes_and_what_is_fixed) {
  const auto table = read_sensitivity(Json::parse(R"({
    "fixed": {"bytes": 10, "parameters": 5}, "reference": "uniform4",
    "layers": [{"name": "layers.3.q", "parameters": 128, "kl": {"4": 0.5, "8": 1e-3, "3": null},
                "role": "attention", "block": 7, "group_size": 32, "bytes": {"4": 99}},
               {"name": "layers.3.k", "parameters": 64, "kl": {"4": 0.25, "8": 0.1}}]})"),
                                      "t");
  EXPECT_EQ(table.fixed_bytes, 10U);
  EXPECT_EQ(table.uniform_bits, 4);
  ASSERT_EQ(table.layers.size(), 2U);
  EXPECT_EQ(table.layers[0].role, Role::attention);
  EXPECT_EQ(table.layers[0].block, 7);
  EXPECT_EQ(table.layers[1].block, 3);
  EXPECT_FALSE(table.layers[0].kl.contains(3));
  CandidateWidths widths;
  widths.bits = {8, 4, 16};
  auto problem = allocation_problem(table, widths);
  const auto& choices = problem.units[0].choices;
  ASSERT_EQ(choices.size(), 3U);
  EXPECT_EQ(choices[0].bytes, 99U);
  EXPECT_EQ(choices[0].group_size, 32);
  EXPECT_EQ(choices[1].bytes, 128U + 4 * 4);
  EXPECT_EQ(choices[2].bytes, 256U);
  EXPECT_EQ(choices[2].kl, 0);
  EXPECT_EQ(problem.units[1].choices[0].group_size, 64);
  set_losses(problem, table);
  EXPECT_EQ(problem.units[0].choices[0].kl, 0.5);
  EXPECT_EQ(problem.units[0].choices[1].kl, -1e-3);
}

TEST(SensitivityTable, a_width_that_was_not_measured_is_refused_by_the_exact_allocator) {
  const auto table = read_sensitivity(
      Json::parse(R"({"layers": [{"name": "a", "parameters": 64, "kl": {"4": 1}}]})"), "t");
  const auto problem = allocation_problem(table, {});
  EXPECT_TRUE(std::isnan(problem.units[0].choices[1].kl));
  EXPECT_THROW(allocate_exact(problem, {}, 5), Error);
}

TEST(SensitivityTable, a_checkpoint_of_the_reference_is_a_bare_list) {
  const auto table = read_sensitivity(Json::parse(R"([{"layer_name": "lm_head",
    "sensitivities": {"4": 0.5, "8": 0.25}, "param_count": 64, "metadata": {}}])"),
                                      "t");
  ASSERT_EQ(table.layers.size(), 1U);
  EXPECT_EQ(table.layers[0].name, "lm_head");
  EXPECT_EQ(table.layers[0].parameters, 64U);
  EXPECT_EQ(table.layers[0].kl.at(8), 0.25);
}

TEST(SensitivityTable, sizes_follow_from_bits_and_groups) {
  EXPECT_EQ(stored_bytes(128, 3, 64), 48U + 8);
  EXPECT_EQ(stored_bytes(128, 16, 64), 256U);
  EXPECT_EQ(stored_bytes(100, 4, 64), std::nullopt);
  EXPECT_EQ(stored_bytes(64, 4, 0), std::nullopt);
  EXPECT_EQ(stored_bytes(UINT64_MAX, 4, 64), std::nullopt);
}

TEST(SensitivityTable, what_is_malformed_is_named) {
  const auto refusal = [](const char* text) -> std::string {
    try {
      allocation_problem(read_sensitivity(parse_json(text, "t"), "t"), {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(refusal("3"), HasSubstr("no list of layers"));
  EXPECT_THAT(refusal("{}"), HasSubstr("no list of layers"));
  EXPECT_THAT(refusal("[4]"), HasSubstr("not an object (t, entry 0)"));
  EXPECT_THAT(refusal(R"([{"parameters": 1}])"), HasSubstr("no name"));
  EXPECT_THAT(refusal(R"([{"name": "a"}])"), HasSubstr("'parameters' is missing (t, a)"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": -1}])"), HasSubstr("'parameters'"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64}])"), HasSubstr("'kl' is missing"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64, "kl": [1]}])"), HasSubstr("'kl'"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64, "kl": {"x": 1}}])"),
              HasSubstr("'x' is not a width"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64, "kl": {"4": "1"}}])"),
              HasSubstr("the KL at 4 bits"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 65, "kl": {"4": 1, "8": 1}}])"),
              HasSubstr("groups of 64 do not divide its 65 parameters (a)"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64, "kl": {}, "role": "king"}])"),
              HasSubstr("'role'"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64, "kl": {}, "block": 1e30}])"),
              HasSubstr("'block'"));
  EXPECT_THAT(refusal(R"([{"name": "a", "parameters": 64, "kl": {}, "group_size": 0}])"),
              HasSubstr("'group_size'"));
  EXPECT_THAT(refusal(R"({"layers": [], "reference": 4})"), HasSubstr("'reference'"));
}

}  // namespace
}  // namespace quiver::test
