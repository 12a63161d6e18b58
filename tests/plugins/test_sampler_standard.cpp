// The filters of sampler-standard: exact survivors on small vectors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "sampler_fixture.hpp"

namespace quiver::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Every token's probability is a multiple of 1/16, none at a threshold used below.
const std::vector<double> kSixteenths = {1 / 16., 6 / 16., 4 / 16., 3 / 16., 2 / 16.};

TEST(Samplers, every_offer_has_options_and_can_be_made_with_its_defaults) {
  const quiver_descriptor& descriptor = *open_plugin(SAMPLER_STANDARD_SO).descriptor;
  int count = 0;
  for (const quiver_offer& offer : descriptor.offers) {
    if (offer.kind == QUIVER_KIND_NONE) break;
    EXPECT_EQ(offer.kind, static_cast<std::uint32_t>(QUIVER_KIND_SAMPLER));
    for (const OptionSpec& spec : standard_samplers().options(offer.name)) {
      EXPECT_GE(spec.default_value, spec.minimum) << offer.name << " " << spec.name;
      EXPECT_LE(spec.default_value, spec.maximum) << offer.name << " " << spec.name;
      EXPECT_EQ(spec.default_text != nullptr, spec.kind == OptionKind::text);
    }
    EXPECT_NE(make(offer.name), nullptr);
    ++count;
  }
  EXPECT_EQ(count, 16);
}

TEST(Samplers, an_unknown_name_is_a_usage_error_that_crosses_the_library) {
  try {
    make("no-such");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("no-such"));
  }
}

TEST(Samplers, bad_logits_are_an_error_that_names_the_token_and_the_sampler) {
  const Numbers on[] = {
      {{"t", 2}},           {{"k", 2}}, {{"p", 0.5}}, {{"p", 0.5}}, {{"p", 0.5}}, {{"n", 1}},
      {{"probability", 1}}, {},         {},           {},           {},           {}};
  const char* names[] = {"temperature",
                         "top-k",
                         "top-p",
                         "min-p",
                         "typical",
                         "top-n-sigma",
                         "xtc",
                         "dry",
                         "repetition-penalty",
                         "presence-penalty",
                         "frequency-penalty",
                         "logit-bias"};
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < std::size(names); ++i) {
    const Texts texts =
        std::string_view(names[i]) == "logit-bias" ? Texts{{"biases", "0:1"}} : Texts{};
    for (const std::size_t place : {0U, 17U, 39U}) {
      for (const float bad : {kNan, -kMinusInfinity}) {
        Row row(std::vector<float>(40, 1.0F));
        row.logits[place] = bad;
        try {
          apply(names[i], on[i], row, {}, texts);
          ADD_FAILURE() << names[i];
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::bad_input);
          EXPECT_THAT(error.what(), HasSubstr("token " + std::to_string(place) + " is"));
          EXPECT_THAT(error.where(), HasSubstr(names[i]));
        }
      }
    }
    Row none({kMinusInfinity, kMinusInfinity});
    EXPECT_THROW(apply(names[i], on[i], none, {}, texts), Error) << names[i];
  }
}

TEST(Temperature, divides_logits) {
  Row row({2, -3, kMinusInfinity, 0});
  apply("temperature", {{"t", 0.5}}, row);
  EXPECT_THAT(row.remaining(), ElementsAre(4, -6, kMinusInfinity, 0));
}

TEST(Temperature, of_zero_keeps_the_likeliest_with_the_lowest_id) {
  EXPECT_THAT(survivors("temperature", {{"t", 0}}, {1, 3, 3, 2}), ElementsAre(1));
}

TEST(Temperature, near_zero_equals_greedy_without_overflow) {
  for (const double t : {1e-3, 1e-40, 5e-324}) {
    Row row({1e30F, 3e30F, -2e38F, kMinusInfinity, 2.9e30F});
    apply("temperature", {{"t", t}}, row);
    for (const float logit : row.remaining())
      EXPECT_FALSE(std::isnan(logit) || logit == -kMinusInfinity);
    const auto p = row.probabilities();
    EXPECT_EQ(std::max_element(p.begin(), p.end()) - p.begin(), 1);
    EXPECT_EQ(p[1], 1.0);
  }
}

TEST(TopK, keeps_the_k_largest_and_the_lowest_ids_of_equal_ones) {
  EXPECT_THAT(survivors("top-k", {{"k", 2}}, {1, 5, 3, 4}), ElementsAre(1, 3));
  EXPECT_THAT(survivors("top-k", {{"k", 3}}, {2, 2, 7, 2, 2}), ElementsAre(0, 1, 2));
  EXPECT_THAT(survivors("top-k", {{"k", 2}}, {0, 0, 0, 0}), ElementsAre(0, 1));
  EXPECT_THAT(survivors("top-k", {{"k", 1}}, {kMinusInfinity, kMinusInfinity, 1}), ElementsAre(2));
}

TEST(TopK, goes_by_id_among_equal_ones_in_any_order) {
  Row row({2, 7, 2, 2}, {9, 4, 3, 6});
  apply("top-k", {{"k", 2}}, row);
  EXPECT_THAT(row.survivors(), ElementsAre(4, 3));
}

TEST(TopK, of_zero_or_at_least_the_count_changes_nothing) {
  for (const double k : {0, 4, 5, 2147483647}) {
    Row row({1, 5, 3, 4});
    apply("top-k", {{"k", k}}, row);
    EXPECT_THAT(row.survivors(), ElementsAre(0, 1, 2, 3)) << k;
    EXPECT_TRUE(row.candidates.is_indexed);
  }
}

TEST(TopP, keeps_tokens_while_strictly_likelier_ones_have_less_mass) {
  const auto logits = logits_of(kSixteenths);
  EXPECT_THAT(survivors("top-p", {{"p", 0.3}}, logits), ElementsAre(1));
  EXPECT_THAT(survivors("top-p", {{"p", 0.5}}, logits), ElementsAre(1, 2));
  EXPECT_THAT(survivors("top-p", {{"p", 0.8}}, logits), ElementsAre(1, 2, 3));
  EXPECT_THAT(survivors("top-p", {{"p", 0.93}}, logits), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(survivors("top-p", {{"p", 0.95}}, logits), ElementsAre(0, 1, 2, 3, 4));
}

TEST(TopP, keeps_all_equal_ones_at_the_threshold) {
  EXPECT_THAT(survivors("top-p", {{"p", 0.55}}, {1, 3, 1, 1}), ElementsAre(1));
  EXPECT_THAT(survivors("top-p", {{"p", 0.9}}, {1, 3, 1, 0, 1}), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(survivors("top-p", {{"p", 0.01}}, {2, 2, 2}), ElementsAre(0, 1, 2));
}

TEST(TopP, of_zero_and_one_keeps_all) {
  for (const double p : {0.0, 1.0}) {
    EXPECT_THAT(survivors("top-p", {{"p", p}}, {1, 9, kMinusInfinity}), ElementsAre(0, 1, 2));
  }
}

TEST(TopP, drops_what_is_ruled_out_and_copes_with_one_sure_token) {
  EXPECT_THAT(survivors("top-p", {{"p", 0.999999}}, {kMinusInfinity, 1, kMinusInfinity, 1}),
              ElementsAre(1, 3));
  EXPECT_THAT(survivors("top-p", {{"p", 0.999999}}, {0, 0, 1000, 0}), ElementsAre(2));
}

TEST(MinP, keeps_tokens_above_a_share_of_the_likeliest) {
  const auto logits = logits_of(kSixteenths);
  EXPECT_THAT(survivors("min-p", {{"p", 0.15}}, logits), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(survivors("min-p", {{"p", 0.4}}, logits), ElementsAre(1, 2, 3));
  EXPECT_THAT(survivors("min-p", {{"p", 0.9}}, logits), ElementsAre(1));
  EXPECT_THAT(survivors("min-p", {{"p", 1}}, {2, 5, 5, 4}), ElementsAre(1, 2));
  EXPECT_THAT(survivors("min-p", {{"p", 0}}, {2, 5, kMinusInfinity}), ElementsAre(0, 1, 2));
}

TEST(MinP, does_not_depend_on_the_temperature_of_a_shifted_row) {
  EXPECT_THAT(survivors("min-p", {{"p", 0.1}}, {-1000, -1002, -1003}), ElementsAre(0, 1));
}

TEST(Typical, keeps_those_nearest_to_the_average_surprise) {
  const auto clear = logits_of({0.9, 0.05, 0.03, 0.02});
  // H = 0.61 bits: surprises 0.15, 4.3, 5.1, 5.6.
  EXPECT_THAT(survivors("typical", {{"p", 0.5}}, clear), ElementsAre(0));
  EXPECT_THAT(survivors("typical", {{"p", 0.92}}, clear), ElementsAre(0, 1));
  // H = 1.76 bits: surprises 1.32, 1.74, 2.32, 4.32; the second comes first.
  const auto mixed = logits_of({0.4, 0.3, 0.25, 0.05});
  EXPECT_THAT(survivors("typical", {{"p", 0.1}}, mixed), ElementsAre(1));
  EXPECT_THAT(survivors("typical", {{"p", 0.5}}, mixed), ElementsAre(1, 2));
  EXPECT_THAT(survivors("typical", {{"p", 0.8}}, mixed), ElementsAre(0, 1, 2));
}

TEST(Typical, takes_equal_ones_by_lowest_id_until_the_mass_is_exceeded) {
  EXPECT_THAT(survivors("typical", {{"p", 0.5}}, {4, 4, 4, 4}), ElementsAre(0, 1, 2));
  EXPECT_THAT(survivors("typical", {{"p", 0}}, {4, 4, 4, 4}), ElementsAre(0));
  EXPECT_THAT(survivors("typical", {{"p", 0.9}}, {0, 500, kMinusInfinity}), ElementsAre(1));
}

TEST(TopNSigma, keeps_logits_within_n_standard_deviations_of_the_largest) {
  // Mean 0, standard deviation 2, ruled out tokens left out of both.
  const std::vector<float> logits = {2, -2, 2, -2, kMinusInfinity};
  EXPECT_THAT(survivors("top-n-sigma", {{"n", 1.9}}, logits), ElementsAre(0, 2));
  EXPECT_THAT(survivors("top-n-sigma", {{"n", 2}}, logits), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(survivors("top-n-sigma", {{"n", 0}}, logits), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(survivors("top-n-sigma", {{"n", 0.5}}, {3, 3, 3}), ElementsAre(0, 1, 2));
}

TEST(Xtc, drops_all_above_the_threshold_but_the_least_likely) {
  const auto logits = logits_of({0.4, 0.05, 0.3, 0.2, 0.05});
  EXPECT_THAT(survivors("xtc", {{"probability", 1}, {"threshold", 0.1}}, logits),
              ElementsAre(1, 3, 4));
  EXPECT_THAT(survivors("xtc", {{"probability", 1}, {"threshold", 0.25}}, logits),
              ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(survivors("xtc", {{"probability", 1}, {"threshold", 0.45}}, logits),
              ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(survivors("xtc", {{"probability", 1}, {"threshold", 0.1}}, {2, 2, 2}),
              ElementsAre(0, 1, 2));
}

TEST(Xtc, never_drops_line_breaks_and_ends) {
  const TestVocabulary vocabulary({"a", "b", "\n", "c", "</s>"}, 4);
  TestContext context;
  context.words = &vocabulary;
  EXPECT_THAT(
      survivors("xtc", {{"probability", 1}}, logits_of({0.22, 0.21, 0.2, 0.15, 0.22}), context),
      ElementsAre(2, 3, 4));
}

TEST(Xtc, acts_as_often_as_its_probability_says) {
  const auto xtc = make("xtc", {{"probability", 0.3}});
  int acted = 0;
  TestContext context;
  for (context.position = 0; context.position < 4000; ++context.position) {
    Row row({2, 1, 0});
    xtc->apply(row.candidates, context, {});
    acted += row.candidates.count < 3 ? 1 : 0;
  }
  EXPECT_NEAR(acted / 4000.0, 0.3, 0.03);  // Four standard deviations.
  EXPECT_EQ(survivors("xtc", {{"probability", 0}}, {2, 1, 0}).size(), 3U);
}

}  // namespace
}  // namespace quiver::test
