// Functions called through a manifest: what they are given, and what is made of their results.
#include "core/plugin/c_sampler.hpp"

#include "core/plugin/options.hpp"
#include "tests/sdk/manifest_text.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <dlfcn.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace {

using namespace quiver;
using quiver::test::manifest_json;
using quiver::test::sampler_json;
using testing::ElementsAre;

class FixedVocabulary final : public Vocabulary {
 public:
  std::int32_t size() const override { return 300; }
  std::string_view piece(std::int32_t) const override { return "x"; }
  bool is_end(std::int32_t) const override { return false; }
};

class FixedContext final : public SamplerContext {
 public:
  std::span<const std::int32_t> history() const override { return history_; }
  std::size_t prompt_length() const override { return 3; }
  double uniform(std::uint32_t draw) const override { return draw == 0 ? 0.25 : 0.75; }
  const Vocabulary* vocabulary() const override { return &vocabulary_; }

 private:
  std::vector<std::int32_t> history_{11, 12, 13, 14, 15};
  FixedVocabulary vocabulary_;
};

std::shared_ptr<CSamplerLibrary> open_samplers(const std::string& samplers) {
  void* handle = ::dlopen(QUIVER_TEST_C_SAMPLERS, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(::dlerror());
  return std::make_shared<CSamplerLibrary>(parse_manifest(manifest_json(samplers), "x"), handle);
}

/// One sampler over four to sixteen candidates.
struct Row {
  std::vector<float> logits{1, 4, 2, 3};
  std::vector<std::int32_t> ids{40, 41, 42, 43};
  std::vector<std::byte> state;
  Candidates candidates{};
  std::int32_t token = -1;

  void run(const std::string& sampler, const std::string& options = "") {
    const auto library = open_samplers(sampler);
    const std::string name = library->manifest().samplers[0].name;
    const auto chosen = PluginOptions::from_text("s", library->options(name), options);
    const std::unique_ptr<Sampler> made(library->create(name, chosen));
    if (state.empty()) {
      state.resize(made->state_bytes(), std::byte{0xFF});
      made->reset(state);
    }
    candidates = {.logits = logits.data(),
                  .ids = ids.data(),
                  .count = ids.size(),
                  .is_sorted = true,
                  .is_indexed = true};
    made->apply(candidates, FixedContext(), state);
    if (made->chooses()) token = made->choose(candidates, FixedContext(), state);
    logits.resize(candidates.count);
    ids.resize(candidates.count);
  }
};

void expect_failure(const std::string& sampler, const std::string& part) {
  SCOPED_TRACE(sampler);
  quiver::test::expect_refused([&] { Row().run(sampler); }, part, ErrorCode::plugin);
  quiver::test::expect_refused([&] { Row().run(sampler); }, "'s'", ErrorCode::plugin);
}

constexpr const char* kTell =
    R"("logits","ids","count","history","history_length","prompt_length","random","random",)"
    R"("vocabulary_size","position","state",)"
    R"({"name":"a","type":"f32","default":0.5,"min":-9,"max":9},)"
    R"({"name":"b","type":"f64","default":0.25,"min":-9,"max":9},)"
    R"({"name":"c","type":"i32","default":-3,"min":-9,"max":9},)"
    R"({"name":"d","type":"i64","default":-4,"min":-9,"max":9},)"
    R"({"name":"e","type":"u32","default":5,"min":0,"max":9},)"
    R"({"name":"f","type":"u64","default":6,"min":0,"max":9})";

TEST(CSampler, passes_every_argument_in_its_type) {
  Row row;
  row.logits.assign(16, 0);
  row.ids.resize(16);
  std::iota(row.ids.begin(), row.ids.end(), 90);
  const std::string sampler = sampler_json("s", "tell", "void", kTell, R"(,"state_bytes":5)");
  row.run(sampler);
  EXPECT_THAT(row.logits,
              ElementsAre(90, 16, 12, 5, 3, 0.25, 0.75, 300, 5, 0, 0.5, 0.25, -3, -4, 5, 6));
  // The state that the first call left is what the second gets; parameters are the user's.
  row.run(sampler, "a=1.5,c=-9,f=9");
  EXPECT_EQ(row.logits[9], 7);
  EXPECT_EQ(row.logits[10], 1.5);
  EXPECT_EQ(row.logits[12], -9);
  EXPECT_EQ(row.logits[15], 9);
  EXPECT_EQ(row.state.size(), 5U);
}

TEST(CSampler, reads_counts_of_every_integral_type) {
  for (const auto& [symbol, rest] :
       {std::pair<std::string, std::string>{"first_two_i32", "i32"}, {"first_two_u32", "u32"}}) {
    Row row;
    row.run(sampler_json("s", symbol, "count", R"("logits","count")",
                         R"(,"result_type":")" + rest + "\""));
    EXPECT_EQ(row.candidates.count, 2U) << symbol;
  }
  Row row;
  row.run(sampler_json("s", "first_two", "count", R"("logits","ids","count")"));
  EXPECT_THAT(row.ids, ElementsAre(40, 41));
}

TEST(CSampler, chooses_a_token_of_every_integral_type) {
  Row narrow;
  narrow.run(sampler_json("s", "last_i32", "token", R"("ids","count")"));
  EXPECT_EQ(narrow.token, 43);
  Row wide;
  wide.run(sampler_json("s", "last_i64", "token", R"("ids","count")", R"(,"result_type":"i64")"));
  EXPECT_EQ(wide.token, 43);
}

TEST(CSampler, clears_the_flags_that_a_function_may_have_broken) {
  Row moved;
  moved.run(sampler_json("s", "best_first", "void", R"("logits","ids","count")"));
  EXPECT_THAT(moved.ids, ElementsAre(41, 40, 42, 43));
  EXPECT_THAT(moved.logits, ElementsAre(4, 1, 2, 3));
  EXPECT_FALSE(moved.candidates.is_indexed);
  EXPECT_FALSE(moved.candidates.is_sorted);
  Row kept;
  kept.run(sampler_json("s", "first_two", "count", R"("logits","ids","count")"));
  EXPECT_TRUE(kept.candidates.is_indexed);
  Row untouched;
  untouched.run(sampler_json("s", "last_i32", "token", R"("ids","count")"));
  EXPECT_TRUE(untouched.candidates.is_sorted);
  EXPECT_TRUE(untouched.candidates.is_indexed);
}

TEST(CSampler, refuses_counts_that_no_candidates_answer_to) {
  const std::string arguments = R"("logits","count")";
  expect_failure(sampler_json("s", "none", "count", arguments), "a count of 0");
  expect_failure(sampler_json("s", "one_more", "count", arguments), "a count of 5");
  expect_failure(sampler_json("s", "minus_one", "count", arguments, R"(,"result_type":"i32")"),
                 "a count of -1");
  expect_failure(sampler_json("s", "huge", "count", arguments, R"(,"result_type":"u64")"),
                 "a count of");
}

TEST(CSampler, refuses_logits_and_ids_that_a_sampler_must_not_leave) {
  const std::string arguments = R"("logits","count")";
  const std::string with_ids = R"("logits","ids","count")";
  expect_failure(sampler_json("s", "not_a_number", "void", arguments), "not a number");
  expect_failure(sampler_json("s", "infinite", "void", arguments), "+infinity");
  expect_failure(sampler_json("s", "rules_out_all", "void", arguments), "ruled out every token");
  expect_failure(sampler_json("s", "invents_id", "void", with_ids), "not a candidate");
  expect_failure(sampler_json("s", "negative_id", "void", with_ids), "not a candidate");
  expect_failure(sampler_json("s", "doubles_id", "void", with_ids), "not a candidate");
  expect_failure(sampler_json("s", "minus_one", "token", arguments), "chose -1");
}

TEST(CSampler, lists_parameters_as_options_with_their_ranges) {
  const auto library =
      open_samplers(sampler_json("s", "tell", "void", kTell, R"(,"state_bytes":5)"));
  const auto options = library->options("s");
  ASSERT_EQ(options.size(), 6U);
  EXPECT_STREQ(options[0].name, "a");
  EXPECT_EQ(options[0].kind, OptionKind::number);
  EXPECT_EQ(options[2].kind, OptionKind::integer);
  EXPECT_EQ(options[2].minimum, -9);
  EXPECT_EQ(options[2].default_value, -3);
}

TEST(CSampler, names_what_is_missing) {
  quiver::test::expect_refused(
      [] { open_samplers(sampler_json("s", "no_such", "void", R"("logits","count")")); },
      "the symbol 'no_such' is missing", ErrorCode::plugin);
  const auto library =
      open_samplers(sampler_json("s", "first_two", "count", R"("logits","ids","count")"));
  quiver::test::expect_refused([&] { library->options("other"); }, "no sampler 'other'",
                               ErrorCode::usage);
}

TEST(CSampler, samplers_outlive_the_object_that_made_them) {
  auto library =
      open_samplers(sampler_json("s", "first_two", "count", R"("logits","ids","count")"));
  const std::unique_ptr<Sampler> sampler(
      library->create("s", PluginOptions("s", library->options("s"))));
  library.reset();
  std::vector<float> logits{1, 2, 3};
  std::vector<std::int32_t> ids{0, 1, 2};
  Candidates candidates{logits.data(), ids.data(), 3, false, true};
  sampler->apply(candidates, FixedContext(), {});
  EXPECT_EQ(candidates.count, 2U);
}

TEST(CSampler, rehearsal_calls_every_function) {
  EXPECT_NO_THROW(rehearse_c_samplers(
      *open_samplers(sampler_json("a", "first_two", "count", R"("logits","ids","count")") + "," +
                     sampler_json("b", "last_i32", "token", R"("ids","count")"))));
  quiver::test::expect_refused(
      [] {
        rehearse_c_samplers(
            *open_samplers(sampler_json("a", "first_two", "count", R"("logits","ids","count")") +
                           "," + sampler_json("b", "not_a_number", "void", R"("logits","count")")));
      },
      "'b' left a logit that is not a number", ErrorCode::plugin);
}

TEST(CSamplerDeathTest, rehearsal_does_not_survive_a_write_outside) {
  const auto library =
      open_samplers(sampler_json("s", "writes_beyond", "void", R"("logits","count")"));
  EXPECT_DEATH(rehearse_c_samplers(*library), "");
}

}  // namespace
