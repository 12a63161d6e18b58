// Penalties, biases and dry of sampler-standard on hand-made rows and histories.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "sampler_fixture.hpp"

namespace quiver::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TestContext after(std::vector<std::int32_t> tokens, const Vocabulary* vocabulary = nullptr) {
  TestContext context;
  context.tokens = std::move(tokens);
  context.words = vocabulary;
  return context;
}

std::vector<float> changed(std::string_view name, const Numbers& options, std::vector<float> logits,
                           const TestContext& context, const Texts& texts = {}) {
  Row row(std::move(logits));
  apply(name, options, row, context, texts);
  return row.remaining();
}

TEST(RepetitionPenalty, divides_positive_and_multiplies_negative_logits_once) {
  EXPECT_THAT(changed("repetition-penalty", {{"penalty", 2}}, {4, -4, 0, 8, kMinusInfinity},
                      after({0, 1, 0, 0, 2, 4})),
              ElementsAre(2, -8, 0, 8, kMinusInfinity));
}

TEST(RepetitionPenalty, of_zero_and_one_changes_nothing) {
  for (const double penalty : {0.0, 1.0}) {
    EXPECT_THAT(changed("repetition-penalty", {{"penalty", penalty}}, {4, -4}, after({0, 1})),
                ElementsAre(4, -4));
  }
}

TEST(RepetitionPenalty, never_leaves_the_finite_numbers) {
  EXPECT_THAT(changed("repetition-penalty", {{"penalty", 1e-30}}, {1e20F, 1}, after({0})),
              ElementsAre(std::numeric_limits<float>::max(), 1));
}

TEST(Penalties, see_exactly_the_newest_tokens_of_their_window) {
  std::vector<std::int32_t> tokens(21, 1);
  tokens[0] = 0;  // 21 tokens back: outside the default window of 20.
  const TestContext context = after(tokens);
  for (const char* name : {"repetition-penalty", "presence-penalty", "frequency-penalty"}) {
    EXPECT_EQ(changed(name, {}, {8, 8}, context)[0], 8) << name;
    EXPECT_LT(changed(name, {{"window", 21}}, {8, 8}, context)[0], 8) << name;
    EXPECT_LT(changed(name, {{"window", 0}}, {8, 8}, context)[0], 8) << name;
    EXPECT_LT(changed(name, {{"window", -1}}, {8, 8}, context)[0], 8) << name;
    EXPECT_EQ(changed(name, {{"window", 20}}, {8, 8}, context)[0], 8) << name;
    EXPECT_EQ(changed(name, {}, {8, 8}, after({}))[1], 8) << name;
  }
}

TEST(PresencePenalty, counts_a_token_once_and_frequency_penalty_each_time) {
  const TestContext context = after({2, 0, 2, 2});
  EXPECT_THAT(changed("presence-penalty", {{"penalty", 0.5}}, {1, 1, -1}, context),
              ElementsAre(0.5, 1, -1.5));
  EXPECT_THAT(changed("frequency-penalty", {{"penalty", 0.5}}, {1, 1, -1}, context),
              ElementsAre(0.5, 1, -2.5));
  EXPECT_THAT(changed("presence-penalty", {{"penalty", -1}}, {1, 1, -1}, context),
              ElementsAre(2, 1, 0));
  EXPECT_THAT(changed("frequency-penalty", {{"penalty", 0}}, {1, 1, -1}, context),
              ElementsAre(1, 1, -1));
}

TEST(Penalties, find_tokens_by_id_where_candidates_are_reordered_and_cut) {
  Row row({1, 2, 3}, {7, 2, 5});
  apply("frequency-penalty", {{"penalty", 1}}, row, after({5, 7, 5, 3, -4, 1000000}));
  EXPECT_THAT(row.remaining(), ElementsAre(0, 2, 1));
}

TEST(Penalties, ignore_ids_that_the_model_does_not_have) {
  EXPECT_THAT(changed("presence-penalty", {{"penalty", 1}}, {1, 1}, after({-7, 2, 2147483647, 1})),
              ElementsAre(1, 0));
}

TEST(LogitBias, adds_to_the_named_tokens) {
  EXPECT_THAT(changed("logit-bias", {}, {1, 2, 3, kMinusInfinity}, after({}),
                      {{"biases", "2:-1.5;0:100;3:50"}}),
              ElementsAre(101, 2, 1.5, kMinusInfinity));
  EXPECT_THAT(changed("logit-bias", {}, {1, 2}, after({}), {{"biases", ""}}), ElementsAre(1, 2));
}

TEST(LogitBias, leaves_out_tokens_that_were_cut_already) {
  Row row({1, 2}, {9, 4});
  apply("logit-bias", {}, row, after({}), {{"biases", "4:1;5:1"}});
  EXPECT_THAT(row.remaining(), ElementsAre(1, 3));
}

TEST(LogitBias, refuses_malformed_texts_naming_the_part) {
  for (const char* text : {"x", "1", "1:", ":1", "1:2:3", "1:2,3:4", "-1:2", "1:101", "1:-100.5",
                           "1:nan", "1:inf", "99999999999:1", "1:2;;3:4", "1: 2", "1:2;1:3"}) {
    try {
      make("logit-bias", {}, {{"biases", text}});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << text;
      EXPECT_THAT(error.where(), HasSubstr("logit-bias")) << text;
    }
  }
}

TEST(LogitBias, refuses_a_token_that_the_model_does_not_have) {
  Row row({1, 2});
  try {
    apply("logit-bias", {}, row, after({}), {{"biases", "0:1;2:1"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no token 2"));
  }
}

// ---------------------------------------------------------------------------------------------------

const Numbers kDry = {{"multiplier", 1}, {"base", 2}, {"allowed_length", 2}};

std::vector<float> dry(std::vector<std::int32_t> tokens, const Vocabulary* vocabulary = nullptr,
                       Numbers options = kDry, const Texts& texts = {}) {
  return changed("dry", options, std::vector<float>(8, 0), after(std::move(tokens), vocabulary),
                 texts);
}

TEST(Dry, penalizes_the_continuation_of_a_loop_by_its_length) {
  // "1 2 3 4 .. 1 2 3": 4 would continue a match of three, one beyond the allowed two.
  EXPECT_THAT(dry({1, 2, 3, 4, 5, 1, 2, 3}), ElementsAre(0, 0, 0, 0, -2, 0, 0, 0));
  EXPECT_THAT(dry({1, 2, 4, 5, 1, 2}), ElementsAre(0, 0, 0, 0, -1, 0, 0, 0));
  EXPECT_THAT(dry({2, 4, 5, 2}), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(Dry, takes_the_longest_match_for_each_token_and_sees_overlaps) {
  EXPECT_THAT(dry({1, 2, 3, 6, 1, 2, 4, 7, 1, 2, 3, 6, 5, 1, 2, 3}),
              ElementsAre(0, 0, 0, 0, 0, 0, -2, 0));
  EXPECT_THAT(dry({7, 2, 4, 1, 2, 5, 1, 2}), ElementsAre(0, 0, 0, 0, 0, -1, 0, 0));
  // Five equal tokens: the last four repeat those one place before.
  EXPECT_THAT(dry({3, 3, 3, 3, 3}), ElementsAre(0, 0, 0, -4, 0, 0, 0, 0));
}

TEST(Dry, equals_a_naive_search_on_random_histories) {
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    std::vector<std::int32_t> tokens(random() % 60);
    const std::uint32_t kinds = 2 + random() % 4;
    for (auto& token : tokens) token = static_cast<std::int32_t>(random() % kinds);
    const std::size_t n = tokens.size();
    std::vector<float> expected(8, 0);
    for (std::size_t next = 1; next < n; ++next) {
      std::size_t length = 0;
      while (length < next && tokens[next - 1 - length] == tokens[n - 1 - length]) ++length;
      if (length < 2 || n <= 2) continue;
      float& logit = expected[static_cast<std::size_t>(tokens[next])];
      logit = std::min(logit, -std::exp2(static_cast<float>(length) - 2));
    }
    EXPECT_EQ(dry(tokens), expected);
  }
}

TEST(Dry, does_not_reach_across_breakers) {
  const TestVocabulary vocabulary({"z", "a", "b:", "c", "d", "e", "\n", "*"});
  // The ':' inside token 2 leaves one token to match, too few.
  EXPECT_THAT(dry({1, 2, 3, 4, 5, 1, 2, 3}, &vocabulary), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(dry({1, 2, 3, 4, 5, 1, 2, 3}, &vocabulary, kDry, {{"breakers", ""}}),
              ElementsAre(0, 0, 0, 0, -2, 0, 0, 0));
  // A breaker farther back only shortens the match: three tokens after it.
  EXPECT_THAT(dry({2, 1, 3, 4, 5, 0, 2, 1, 3, 4}, &vocabulary),
              ElementsAre(0, 0, 0, 0, 0, -2, 0, 0));
}

TEST(Dry, finds_breakers_that_span_tokens) {
  const TestVocabulary vocabulary({"z", "x<", "br", ">y", "c", "d", "e", "f"});
  const Texts texts = {{"breakers", "<br>"}};
  EXPECT_THAT(dry({1, 2, 3, 4, 5, 7, 1, 2, 3, 4, 5}, &vocabulary, kDry, texts),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, -1));
  EXPECT_THAT(dry({1, 2, 4, 4, 5, 7, 1, 2, 4, 4, 5}, &vocabulary, kDry, texts),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, -8));
  // The breaker begins before the match of 3 4 5 and ends in its first token.
  EXPECT_THAT(dry({6, 3, 4, 5, 7, 1, 2, 3, 4, 5}, &vocabulary, kDry, texts),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, -1));
}

TEST(Dry, never_penalizes_a_token_that_holds_a_breaker) {
  const TestVocabulary vocabulary({"z", "a", "b", "c", "d\n", "e", "f", "g"});
  EXPECT_THAT(dry({1, 2, 3, 4, 5, 1, 2, 3}, &vocabulary), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(Dry, reads_escapes_in_its_breakers) {
  const TestVocabulary vocabulary({"z", "a", "b", "c;", "d", "e", "f\\", "g,"});
  const std::vector<std::int32_t> tokens = {1, 2, 3, 4, 5, 1, 2, 3};
  EXPECT_EQ(dry(tokens, &vocabulary, kDry, {{"breakers", "\\;"}})[4], 0);
  EXPECT_EQ(dry(tokens, &vocabulary, kDry, {{"breakers", "q;\\x3B"}})[4], 0);
  EXPECT_EQ(dry(tokens, &vocabulary, kDry, {{"breakers", "\\\\;\\x2c;\\t;\\r"}})[4], -2);
  const std::string too_long(41, 'a');
  for (const std::string& text :
       {std::string("a;;b"), std::string("a;"), std::string("\\q"), std::string("a\\"),
        std::string("\\x4"), std::string("\\xgg"), too_long}) {
    EXPECT_THROW(make("dry", {}, {{"breakers", text}}), Error) << text;
  }
}

TEST(Dry, looks_no_farther_back_than_its_window) {
  Numbers options = kDry;
  options["window"] = 6;
  EXPECT_EQ(dry({1, 2, 4, 5, 1, 2}, nullptr, options)[4], -1);
  options["window"] = 5;
  EXPECT_EQ(dry({1, 2, 4, 5, 1, 2}, nullptr, options)[4], 0);
}

TEST(Dry, stays_finite_for_endless_loops) {
  Numbers options = kDry;
  options["multiplier"] = 100;
  options["base"] = 100;
  const float logit = dry(std::vector<std::int32_t>(5000, 3), nullptr, options)[3];
  EXPECT_TRUE(std::isfinite(logit));
  EXPECT_LT(logit, -1e30F);
  options["multiplier"] = 0;
  EXPECT_EQ(dry(std::vector<std::int32_t>(50, 3), nullptr, options)[3], 0);
}

}  // namespace
}  // namespace quiver::test
