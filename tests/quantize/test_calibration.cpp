// Stratified samples: domains in turns, whole rows in a shuffled order, the same every time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <quiver/error.hpp>

#include <map>
#include <random>

#include "tests/quantize/calibration_fixture.hpp"

namespace quiver::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// `rows` texts of about `words` words in each of the domains, all different.
std::vector<CalibrationRow> mix(const std::map<std::string, int>& domains, int words) {
  std::mt19937 random(5);
  std::vector<CalibrationRow> rows;
  for (const auto& [domain, count] : domains) {
    for (int i = 0; i < count; ++i) {
      std::string text = domain + std::to_string(i);
      for (int word = 0; word < words; ++word) text += " " + std::to_string(random() % 100000);
      rows.push_back(
          {.domain = domain, .text = text, .messages_json = {}, .tools_json = {}, .where = {}});
    }
  }
  return rows;
}

TEST(Calibration, domains_take_turns_and_have_equal_shares) {
  const auto samples =
      sample_calibration(mix({{"a", 30}, {"b", 2}, {"c", 9}}, 40), text_without_template(),
                         {.samples = 11, .sequence_length = 50});
  std::map<std::string, int> counts;
  for (const auto& sample : samples.samples) {
    ++counts[sample.domain];
    EXPECT_EQ(sample.tokens.size(), 50U);
  }
  EXPECT_EQ(counts, (std::map<std::string, int>{{"a", 4}, {"b", 4}, {"c", 3}}));
  EXPECT_EQ(samples.samples[0].domain, "a");
  EXPECT_EQ(samples.samples[1].domain, "b");
  EXPECT_EQ(samples.token_count(), 550U);
}

TEST(Calibration, a_sample_is_whole_rows_of_its_domain_but_for_the_last) {
  const auto rows = mix({{"a", 12}, {"b", 12}}, 8);
  const CalibrationText text = text_without_template();
  const auto samples = sample_calibration(rows, text, {.samples = 4, .sequence_length = 90});
  for (const auto& sample : samples.samples) {
    std::size_t whole = 0;
    for (const CalibrationRow& row : rows) {
      const auto tokens = text.encode(text.render(row));
      ASSERT_LT(tokens.size(), 60U);
      if (!holds(sample.tokens, tokens)) continue;
      EXPECT_EQ(row.domain, sample.domain);
      whole += tokens.size();
    }
    EXPECT_GE(whole, 30U) << "all but the cut row are there as they are";
  }
}

TEST(Calibration, is_the_same_every_time_and_another_with_another_seed) {
  const auto rows = mix({{"a", 20}, {"b", 20}}, 20);
  const CalibrationText text = text_without_template();
  const auto take = [&](std::uint32_t seed) {
    std::vector<std::vector<std::int32_t>> tokens;
    for (auto& sample :
         sample_calibration(rows, text, {.samples = 6, .sequence_length = 64, .seed = seed})
             .samples) {
      tokens.push_back(std::move(sample.tokens));
    }
    return tokens;
  };
  EXPECT_EQ(take(1), take(1));
  EXPECT_NE(take(1), take(2));
  const auto once = take(1);
  EXPECT_EQ(std::set(once.begin(), once.end()).size(), 6U) << "no sample comes twice";
}

TEST(Calibration, more_samples_begin_with_the_fewer_ones) {
  const auto rows = mix({{"a", 20}, {"b", 20}}, 20);
  const CalibrationText text = text_without_template();
  const auto few = sample_calibration(rows, text, {.samples = 3, .sequence_length = 64});
  const auto many = sample_calibration(rows, text, {.samples = 7, .sequence_length = 64});
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(few.samples[i].tokens, many.samples[i].tokens);
}

TEST(Calibration, a_domain_does_not_depend_on_the_others) {
  const auto both = mix({{"a", 20}, {"b", 20}}, 20);
  std::vector<CalibrationRow> only;
  for (const CalibrationRow& row : both) {
    if (row.domain == "b") only.push_back(row);
  }
  const CalibrationText text = text_without_template();
  const auto from_both = sample_calibration(both, text, {.samples = 2, .sequence_length = 64});
  const auto from_only = sample_calibration(only, text, {.samples = 1, .sequence_length = 64});
  EXPECT_EQ(from_both.samples[1].tokens, from_only.samples[0].tokens);
}

TEST(Calibration, rows_are_used_once_before_any_is_used_again) {
  const auto rows = mix({{"a", 6}}, 30);
  const CalibrationText text = text_without_template();
  std::size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, text.encode(text.render(row)).size());
  // Each row is a sample of its own and none is left over.
  const auto once = sample_calibration(rows, text, {.samples = 6, .sequence_length = 30});
  EXPECT_TRUE(once.warnings.empty());
  std::set<std::vector<std::int32_t>> different;
  for (const auto& sample : once.samples) different.insert(sample.tokens);
  EXPECT_EQ(different.size(), 6U);
  const auto again = sample_calibration(rows, text, {.samples = 7, .sequence_length = 30});
  EXPECT_THAT(again.warnings, ElementsAre(HasSubstr("'a' is too short")));
  EXPECT_TRUE(different.contains(again.samples[6].tokens));
}

TEST(Calibration, a_short_text_gives_a_shorter_sample_and_says_so) {
  const auto rows = mix({{"a", 3}}, 10);
  const CalibrationText text = text_without_template();
  std::size_t all = 0;
  for (const auto& row : rows) all += text.encode(text.render(row)).size();
  const auto samples = sample_calibration(rows, text, {.samples = 1, .sequence_length = 512});
  ASSERT_EQ(samples.samples.size(), 1U);
  EXPECT_EQ(samples.samples[0].tokens.size(), all);
  EXPECT_THAT(samples.warnings, ElementsAre(HasSubstr("shorter than the 512 asked for")));
  const auto optiq = sample_calibration_optiq(rows, text, {.samples = 1, .sequence_length = 512});
  EXPECT_EQ(optiq.samples[0].tokens.size(), all);
  EXPECT_THAT(optiq.warnings, ElementsAre(HasSubstr("shorter than the 512 asked for")));
}

TEST(Calibration, fewer_than_sixteen_tokens_and_wrong_options_are_refused) {
  const CalibrationText text = text_without_template();
  const std::vector<CalibrationRow> tiny = {
      {.domain = "a", .text = "short", .messages_json = {}, .tools_json = {}, .where = {}}};
  EXPECT_THROW(sample_calibration(tiny, text, {}), Error);
  EXPECT_THROW(sample_calibration_optiq(tiny, text, {}), Error);
  EXPECT_THROW(sample_calibration({}, text, {}), Error);
  const auto rows = mix({{"a", 3}}, 10);
  EXPECT_THROW(sample_calibration(rows, text, {.samples = 0}), Error);
  EXPECT_THROW(sample_calibration(rows, text, {.sequence_length = 15}), Error);
  EXPECT_THROW(sample_calibration_optiq(rows, text, {.samples = 1 << 30}), Error);
}

TEST(Calibration, rows_that_the_template_cannot_take_are_counted) {
  const auto rows = parse_calibration_rows(
      R"({"messages":[{"role":"user","content":"one two three four five six seven eight nine"}]})",
      "mix");
  const auto samples =
      sample_calibration(rows, text_without_template(), {.samples = 1, .sequence_length = 16});
  EXPECT_THAT(samples.warnings, testing::Contains(HasSubstr("1 rows")));
}

}  // namespace
}  // namespace quiver::test
