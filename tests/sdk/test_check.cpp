// The validator: every rule that a plugin can break is seen by the check that is there for it.
#include "core/plugin/check.hpp"

#include "tests/sdk/manifest_text.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace {

using namespace quiver;
using testing::HasSubstr;

CheckOptions options(const std::string& only = "*") {
  CheckOptions options;
  options.program = QUIVER_TEST_CHECK_HOST;
  options.only = only;
  return options;
}

/// One misbehaviour: the plugin, what makes it misbehave, the check, and what that must say.
struct Case {
  const char* plugin;
  const char* defect;  ///< An offer's name before a slash in `check`, or the variable's value.
  const char* check;
  const char* detail;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.defect << " " << c.check;
}

class BadPlugin : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { ::setenv("QUIVER_TEST_DEFECT", GetParam().defect, 1); }
  void TearDown() override { ::unsetenv("QUIVER_TEST_DEFECT"); }
};

TEST_P(BadPlugin, fails_its_check) {
  const auto report = run_checks(GetParam().plugin, options(GetParam().check));
  ASSERT_EQ(report.checks.size(), 1U);
  EXPECT_EQ(report.checks[0].status, CheckStatus::failed);
  EXPECT_THAT(report.checks[0].detail, HasSubstr(GetParam().detail));
  EXPECT_EQ(report.checks[0].detail.find('\n'), std::string::npos);
}

constexpr const char* kManners = QUIVER_TEST_PLUGINS "/bad-manners.so";
INSTANTIATE_TEST_SUITE_P(
    General, BadPlugin,
    testing::Values(
        Case{QUIVER_TEST_PLUGINS "/exports-more.so", "", "exports-one-symbol", "another_symbol"},
        Case{QUIVER_TEST_PLUGINS "/undefined-symbol.so", "", "opens-now", "nobody_defines_this"},
        Case{kManners, "has-none", "offers-have-interfaces", "quiver.sampler/1"},
        Case{kManners, "answers-all", "unknown-interface-null", "answers the unknown"},
        Case{kManners, "answers-prefixes", "trailing-garbage-id-null", "quiver.sampler/10"},
        Case{kManners, "inits-once", "init-deinit-twice", "second init"},
        Case{kManners, "forgets", "init-deinit-twice", "one deinit"},
        Case{kManners, "needs-service", "optional-host-services-absent", ""},
        Case{kManners, "prints", "no-stdout", "thinking"},
        Case{kManners, "prints-at-load", "no-stdout", "hello"},
        Case{kManners, "locale-at-load", "locale-untouched", "C.UTF-8"},
        Case{kManners, "cpp-locale", "locale-untouched", "C++ streams"},
        Case{kManners, "rounds-at-load", "fp-state-untouched", "loading"},
        Case{kManners, "flushes", "fp-state-untouched", "using"},
        Case{kManners, "rounds", "fp-state-untouched", "using"}));

constexpr const char* kSamplers = QUIVER_TEST_PLUGINS "/bad-samplers.so";
INSTANTIATE_TEST_SUITE_P(
    Sampler, BadPlugin,
    testing::Values(Case{kSamplers, "", "writes-after/no-write-outside-buffers", ""},
                    Case{kSamplers, "", "writes-before/no-write-outside-buffers", ""},
                    Case{kSamplers, "", "writes-history/no-write-outside-buffers", ""},
                    Case{kSamplers, "", "empties/edge-inputs", "no candidate"},
                    Case{kSamplers, "", "grows/edge-inputs", "more candidates"},
                    Case{kSamplers, "", "not-a-number/edge-inputs", "not a number"},
                    Case{kSamplers, "", "invents-id/edge-inputs", "no candidate"},
                    Case{kSamplers, "", "doubles-id/deterministic", "leaves it twice"},
                    Case{kSamplers, "", "lies-sorted/deterministic", "is_sorted"},
                    Case{kSamplers, "", "lies-indexed/deterministic", "is_indexed"},
                    Case{kSamplers, "", "remembers/deterministic", "second call"},
                    Case{kSamplers, "", "by-thread/independent-of-threads", "other threads"},
                    Case{kSamplers, "", "hidden-state/rollback-equals-replay", "earlier state"},
                    Case{kSamplers, "", "big-state/state-within-bounds", "8192"},
                    Case{kSamplers, "", "state-overrun/no-write-outside-buffers", ""},
                    Case{kSamplers, "", "unset-state/state-within-bounds", "leaves bytes"},
                    Case{kSamplers, "", "crashes-on-one/edge-inputs", ""},
                    Case{kSamplers, "", "bad-choice/deterministic", "token -5"},
                    Case{kSamplers, "", "throws-int/bad-options-are-errors", "not an exception"},
                    Case{kSamplers, "", "crashes-at-max/bad-options-are-errors", ""},
                    Case{kSamplers, "", "bad-default/options-valid", "range"},
                    Case{kSamplers, "", "nameless-option/options-valid", "not a name"}));

constexpr const char* kQuant = QUIVER_TEST_PLUGINS "/bad-quant.so";
INSTANTIATE_TEST_SUITE_P(
    Quant, BadPlugin,
    testing::Values(
        Case{kQuant, "other-name", "crude/formats-valid", "'other'"},
        Case{kQuant, "any-format", "crude/formats-valid", "takes a format"},
        Case{kQuant, "too-many-parts", "crude/formats-valid", "5 parts"},
        Case{kQuant, "takes-ragged", "crude/ragged-columns-refused", "columns"},
        Case{kQuant, "decodes-noise", "crude/error-bounded", "relative error"},
        Case{kQuant, "decodes-infinite", "crude/edge-inputs", "not finite"},
        Case{kQuant, "encode-remembers", "crude/deterministic-within-buffers", "second time"},
        Case{kQuant, "leaves-unwritten", "crude/deterministic-within-buffers", "unwritten"},
        Case{kQuant, "encode-overruns", "crude/deterministic-within-buffers", ""},
        Case{kQuant, "decode-overruns", "crude/deterministic-within-buffers", ""},
        Case{kQuant, "depends-on-rows", "crude/deterministic-within-buffers", "a row otherwise"},
        Case{kQuant, "needs-alignment", "crude/saved-equals-direct", "saved bytes"},
        Case{kQuant, "takes-nan", "crude/non-finite-weights-refused", "not finite"},
        Case{kQuant, "wrong-code", "crude/non-finite-weights-refused", "bad_input"},
        Case{kQuant, "decodes-otherwise", "crude/packed-format-true", "scale * code"},
        Case{kQuant, "answers-any", "crude/encoders-listed", "unknown extension"},
        Case{kQuant, "encoder-twice", "crude/encoders-listed", "twice"},
        Case{kQuant, "encoder-any", "crude/encoders-listed", "does not list"},
        Case{kQuant, "encoder-remembers", "crude/encoders-deterministic-within-buffers", "second"},
        Case{kQuant, "encoder-overruns", "crude/encoders-deterministic-within-buffers", ""},
        Case{kQuant, "encoder-counts-rows", "crude/encoders-deterministic-within-buffers",
             "a row otherwise"},
        Case{kQuant, "encoder-weighs", "crude/encoders-deterministic-within-buffers",
             "does not use the importance"},
        Case{kQuant, "encoder-worse", "crude/encoders-never-worse", "squared error"},
        Case{kQuant, "encoder-other-first", "crude/encoders-never-worse", "scheme's own"},
        Case{kQuant, "encoder-takes-nan", "crude/encoders-refuse-bad-input", "importances"},
        Case{kQuant, "takes-nan", "crude/encoders-refuse-bad-input", "not finite"},
        Case{kQuant, "encoder-remembers", "crude/encoders-independent-of-threads",
             "other threads"}));

constexpr const char* kKv = QUIVER_TEST_PLUGINS "/bad-kv.so";
INSTANTIATE_TEST_SUITE_P(
    Kv, BadPlugin,
    testing::Values(Case{kKv, "", "no-bytes/round-trip-error", "0 bytes"},
                    Case{kKv, "", "noise/round-trip-error", "relative error"},
                    Case{kKv, "", "spills/slots-independent", "changes another"},
                    Case{kKv, "", "adds-up/slots-independent", "what was in it before"},
                    Case{kKv, "", "scores-all/slots-independent", "part of the slots"},
                    Case{kKv, "", "counts-queries/queries-independent", "depend on the others"},
                    Case{kKv, "", "counts-pages/pages-independent", "scores depend on the pages"},
                    Case{kKv, "", "one-page/pages-independent", "scores depend on the pages"},
                    Case{kKv, "", "adds-first-page/pages-independent", "sums depend on the pages"},
                    Case{kKv, "", "rounds-weights/pages-independent", "sums depend on the pages"},
                    Case{kKv, "", "write-overruns/page-copies-equal", ""},
                    Case{kKv, "", "by-address/page-copies-equal", "other bits"},
                    Case{kKv, "", "by-thread/independent-of-threads", "other threads"},
                    Case{kKv, "", "overwrites/accumulate-adds", "change the output"}));

constexpr const char* kCanvas = QUIVER_TEST_PLUGINS "/bad-canvas.so";
INSTANTIATE_TEST_SUITE_P(
    Canvas, BadPlugin,
    testing::Values(Case{kCanvas, "", "may-stall/fixes-every-position", "no open position"},
                    Case{kCanvas, "", "unset/deterministic-within-buffers", "other than 0 or 1"},
                    Case{kCanvas, "", "writes-after/deterministic-within-buffers", ""},
                    Case{kCanvas, "", "remembers/deterministic-within-buffers", "second call"},
                    Case{kCanvas, "", "by-thread/independent-of-threads", "other threads"}));

/// A config for the architecture, which fails or passes its checks with it.
CheckOptions with_config(const quiver::test::TemporaryFolder& folder, const std::string& only) {
  CheckOptions result = options(only);
  result.config =
      folder.write("config.json",
                   R"({"model_type":"tiny","hidden_size":16,"vocab_size":64,"nested":{"a":[1]}})");
  return result;
}

constexpr const char* kArchitecture = QUIVER_TEST_PLUGINS "/bad-architecture.so";

class BadArchitecture : public BadPlugin {};

TEST_P(BadArchitecture, fails_its_check) {
  const quiver::test::TemporaryFolder folder;
  const auto report = run_checks(kArchitecture, with_config(folder, GetParam().check));
  ASSERT_EQ(report.checks.size(), 1U);
  EXPECT_EQ(report.checks[0].status, CheckStatus::failed);
  EXPECT_THAT(report.checks[0].detail, HasSubstr(GetParam().detail));
}

INSTANTIATE_TEST_SUITE_P(
    Architecture, BadArchitecture,
    testing::Values(
        Case{kArchitecture, "bad-rule", "tiny/rules-valid", "repeats more"},
        Case{kArchitecture, "answers", "tiny/unknown-extensions-null", "unknown extension"},
        Case{kArchitecture, "other-code", "tiny/empty-config-is-an-error", "not bad_input"},
        Case{kArchitecture, "names-nothing", "tiny/empty-config-is-an-error", "names no value"},
        Case{kArchitecture, "throws-int", "tiny/empty-config-is-an-error", "not an exception"},
        Case{kArchitecture, "makes-nothing", "tiny/builds-from-config", "makes no model"},
        Case{kArchitecture, "renames", "tiny/builds-from-config", "other tensors"},
        Case{kArchitecture, "no-width", "tiny/builds-from-config", "no width"},
        Case{kArchitecture, "crashes", "tiny/malformed-config-is-an-error", ""},
        Case{kArchitecture, "constant", "tiny/deterministic-on-any-threads", "the same"},
        Case{kArchitecture, "counts-passes", "tiny/deterministic-on-any-threads", "second run"},
        Case{kArchitecture, "counts-passes", "tiny/batch-equals-single", "each alone"},
        Case{kArchitecture, "counts-passes", "tiny/chunked-equals-whole", "in pieces"},
        Case{kArchitecture, "late-passes", "tiny/rollback-equals-replay", "taken back"}));

TEST(Check, a_good_architecture_passes_and_says_what_it_could_not_check) {
  const quiver::test::TemporaryFolder folder;
  const auto with = run_checks(kArchitecture, with_config(folder, "tiny/*"));
  for (const CheckResult& check : with.checks) {
    EXPECT_EQ(check.status, CheckStatus::passed) << check.name << ": " << check.detail;
  }
  const auto without = run_checks(kArchitecture, options("tiny/*"));
  EXPECT_EQ(without.count(CheckStatus::failed), 0);
  EXPECT_EQ(without.count(CheckStatus::skipped), 7);
  for (const CheckResult& check : without.checks) {
    EXPECT_TRUE(check.status == CheckStatus::passed ||
                check.detail.find("--config") != std::string::npos)
        << check.detail;
  }
}

void expect_all_pass(const std::filesystem::path& plugin, const std::string& only) {
  const auto report = run_checks(plugin, options(only));
  for (const CheckResult& check : report.checks) {
    EXPECT_NE(check.status, CheckStatus::failed)
        << plugin << " " << check.name << ": " << check.detail;
  }
  EXPECT_GE(report.count(CheckStatus::passed), 3);
}

TEST(Check, good_samplers_pass) {
  expect_all_pass(kSamplers, "good/*");
}
TEST(Check, good_schemes_pass) {
  expect_all_pass(kQuant, "crude/*");
}
TEST(Check, good_strategies_pass) {
  expect_all_pass(kKv, "good/*");
}
TEST(Check, good_canvas_samplers_pass) {
  expect_all_pass(kCanvas, "good/*");
}
TEST(Check, a_plugin_with_good_manners_passes_all) {
  expect_all_pass(kManners, "*");
}

TEST(Check, a_file_that_is_no_plugin_fails_with_the_reason) {
  const quiver::test::TemporaryFolder folder;
  const auto report = run_checks(folder.write("x.so", "not an ELF file at all"), options());
  ASSERT_EQ(report.checks.size(), 1U);
  EXPECT_EQ(report.checks[0].name, "descriptor-valid");
  EXPECT_EQ(report.checks[0].status, CheckStatus::failed);
  EXPECT_THAT(report.checks[0].detail, HasSubstr("ELF"));
  const auto missing = run_checks(folder.path() / "none.so", options());
  EXPECT_EQ(missing.count(CheckStatus::failed), 1);
}

TEST(Check, hangs_and_endless_work_are_failures) {
  CheckOptions limited = options("loops/deterministic");
  limited.wall_limit = std::chrono::milliseconds(200);
  const auto report = run_checks(kSamplers, limited);
  EXPECT_EQ(report.checks[0].status, CheckStatus::failed);
  EXPECT_THAT(report.checks[0].detail, HasSubstr("longer than 200 ms"));
}

TEST(Check, an_only_pattern_that_matches_nothing_is_a_usage_error) {
  quiver::test::expect_refused([] { run_checks(kSamplers, options("no-such-check")); },
                               "no check matches", ErrorCode::usage);
}

/// A manifest beside a copy of the library of test functions.
std::filesystem::path manifest_in(const quiver::test::TemporaryFolder& folder,
                                  const std::string& sampler) {
  std::filesystem::copy_file(QUIVER_TEST_C_SAMPLERS, folder.path() / "c-samplers.so",
                             std::filesystem::copy_options::overwrite_existing);
  return folder.write("test.sampler.json", quiver::test::manifest_json(sampler));
}

TEST(Check, samplers_of_a_manifest_are_checked_like_any) {
  const quiver::test::TemporaryFolder folder;
  const auto file = manifest_in(
      folder, quiver::test::sampler_json("s", "best_first", "void", R"("logits","ids","count")"));
  expect_all_pass(file, "*");
  const auto beyond = manifest_in(
      folder, quiver::test::sampler_json("s", "writes_beyond", "void", R"("logits","count")"));
  const auto report = run_checks(beyond, options("s/no-write-outside-buffers"));
  EXPECT_EQ(report.checks[0].status, CheckStatus::failed);
  const auto printing =
      manifest_in(folder, quiver::test::sampler_json("s", "prints", "void", R"("logits","count")"));
  EXPECT_THAT(run_checks(printing, options("no-stdout")).checks[0].detail, HasSubstr("candidates"));
}

TEST(Check, a_bad_manifest_fails_with_its_reason) {
  const quiver::test::TemporaryFolder folder;
  const auto file = folder.write("x.sampler.json", R"({"quiver_sampler":1,"colour":1})");
  const auto report = run_checks(file, options());
  ASSERT_EQ(report.checks.size(), 1U);
  EXPECT_EQ(report.checks[0].name, "manifest-valid");
  EXPECT_THAT(report.checks[0].detail, HasSubstr("colour"));
}

TEST(Check, reports_have_the_keys_that_the_command_line_promises) {
  CheckReport report;
  report.checks = {{"a", CheckStatus::passed, ""},
                   {"b/c", CheckStatus::failed, "why"},
                   {"d", CheckStatus::skipped, "no config"}};
  const auto json = check_report_json(report);
  EXPECT_EQ(json.at("passed"), 1);
  EXPECT_EQ(json.at("failed"), 1);
  EXPECT_EQ(json.at("skipped"), 1);
  EXPECT_EQ(json.at("checks").at(1),
            (nlohmann::json{{"name", "b/c"}, {"status", "failed"}, {"detail", "why"}}));
  EXPECT_EQ(check_report_text(report, false),
            "passed   a\n"
            "failed   b/c  why\n"
            "skipped  d    no config\n"
            "1 passed, 1 failed, 1 skipped\n");
}

}  // namespace
