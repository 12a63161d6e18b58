// Options from texts and JSON against their specs.
#include "core/plugin/options.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <array>
#include <functional>
#include <limits>

namespace quiver {
namespace {

using testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr std::array<OptionSpec, 5> kSpecs = {{
    {"p", "Probability", OptionKind::number, 0.95, 0.0, 1.0, nullptr},
    {"k", "How many", OptionKind::integer, 40, 0, 1000, nullptr},
    {"strict", "Whether", OptionKind::flag, 0, 0, 1, nullptr},
    {"bias", "Which", OptionKind::text, 0, 0, 0, "none"},
    {"scale", "Any number", OptionKind::number, 1, -kInfinity, kInfinity, nullptr},
}};

PluginOptions from_text(std::string_view text) {
  return PluginOptions::from_text("sampler 'top'", kSpecs, text);
}

PluginOptions from_json(const nlohmann::json& json) {
  return PluginOptions::from_json("sampler 'top'", kSpecs, json);
}

/// The message of a refusal; the test fails where there is none, or of another kind.
std::string refusal(const std::function<void()>& read, ErrorCode code = ErrorCode::usage) {
  try {
    read();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "was accepted";
  return {};
}

TEST(PluginOptions, AreTheDefaultsWhereNothingIsGiven) {
  for (const PluginOptions& options :
       {from_text(""), from_json(nullptr), PluginOptions("sampler 'top'", kSpecs)}) {
    EXPECT_EQ(options.number("p"), 0.95);
    EXPECT_EQ(options.integer("k"), 40);
    EXPECT_FALSE(options.flag("strict"));
    EXPECT_EQ(options.text("bias"), "none");
  }
}

TEST(PluginOptions, AreReadFromText) {
  const PluginOptions options = from_text("p=0.5,k=7,strict,bias=a\\,b=c,scale=-1e-3");
  EXPECT_EQ(options.number("p"), 0.5);
  EXPECT_EQ(options.integer("k"), 7);
  EXPECT_TRUE(options.flag("strict"));
  EXPECT_EQ(options.text("bias"), "a,b=c");
  EXPECT_EQ(options.number("scale"), -1e-3);
  EXPECT_TRUE(from_text("strict=yes").flag("strict"));
  EXPECT_FALSE(from_text("strict=off").flag("strict"));
}

TEST(PluginOptions, AreReadFromJson) {
  const PluginOptions options =
      from_json({{"p", 1}, {"k", 7}, {"strict", true}, {"bias", "x"}, {"scale", 2.5}});
  EXPECT_EQ(options.number("p"), 1);
  EXPECT_EQ(options.integer("k"), 7);
  EXPECT_TRUE(options.flag("strict"));
  EXPECT_EQ(options.text("bias"), "x");
}

TEST(PluginOptions, RefuseUnknownNamesAndListTheKnownOnes) {
  const std::string message = refusal([] { from_text("q=1"); });
  EXPECT_THAT(message, HasSubstr("'q'"));
  EXPECT_THAT(message, HasSubstr("sampler 'top'"));
  EXPECT_THAT(message, HasSubstr("p (a number from 0 to 1)"));
  EXPECT_THAT(message, HasSubstr("k (an integer from 0 to 1000)"));
  refusal([] { from_json({{"q", 1}}); });
}

TEST(PluginOptions, RefuseWhatIsOutOfRangeAndNameTheRange) {
  for (const char* text : {"p=1.01", "p=-0.1", "p=1e999", "k=1001", "k=-1"}) {
    EXPECT_THAT(refusal([&] { from_text(text); }), HasSubstr(" from 0 to 1")) << text;
  }
  refusal([] { from_json({{"p", 1.5}}); });
}

TEST(PluginOptions, RefuseNumbersThatAreNotFinite) {
  for (const char* text : {"p=nan", "scale=nan", "scale=inf", "scale=-inf", "scale=infinity"}) {
    refusal([&] { from_text(text); });
  }
  refusal([] { from_json({{"scale", kInfinity}}); });
  refusal([] { from_json({{"scale", std::numeric_limits<double>::quiet_NaN()}}); });
}

TEST(PluginOptions, RefuseOtherKinds) {
  for (const char* text : {"p=", "p", "p=half", "p=0.5x", "p= 0.5", "k=1.5", "k=0x10", "strict=2",
                           "strict=", "bias=\x1b[2J", "=1", "p=0.5,,k=1", "p=0.5,p=0.5"}) {
    refusal([&] { from_text(text); });
  }
  refusal([] { from_json({{"p", "0.5"}}); });
  refusal([] { from_json({{"k", 1.5}}); });
  refusal([] { from_json({{"bias", 3}}); });
  refusal([] { from_json({{"strict", "yes"}}); });
  refusal([] { from_json({{"p", nullptr}}); });
  refusal([] { from_json(nlohmann::json::array({1})); });
}

TEST(PluginOptions, AskedForWhatTheSpecsDoNotHoldAreABug) {
  const PluginOptions options = from_text("");
  refusal([&] { static_cast<void>(options.number("q")); }, ErrorCode::internal);
  refusal([&] { static_cast<void>(options.number("bias")); }, ErrorCode::internal);
  refusal([&] { static_cast<void>(options.text("p")); }, ErrorCode::internal);
}

TEST(PluginOptions, RefuseSpecsThatContradictThemselves) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const OptionSpec bad[] = {
      {"p", "s", OptionKind::number, 2, 0, 1, nullptr},
      {"p", "s", OptionKind::number, nan, 0, 1, nullptr},
      {"p", "s", OptionKind::number, 0, nan, 1, nullptr},
      {"p", "s", OptionKind::integer, 0.5, 0, 1, nullptr},
      {"p", "s", OptionKind::flag, 0.5, 0, 1, nullptr},
      {"p", nullptr, OptionKind::number, 0, 0, 1, nullptr},
      {nullptr, "s", OptionKind::number, 0, 0, 1, nullptr},
      {"", "s", OptionKind::number, 0, 0, 1, nullptr},
      {"p", "s", static_cast<OptionKind>(9), 0, 0, 1, nullptr},
  };
  for (const OptionSpec& spec : bad) {
    refusal([&] { PluginOptions("x", std::span(&spec, 1)); }, ErrorCode::plugin);
  }
  const OptionSpec twice[] = {kSpecs[0], kSpecs[0]};
  refusal([&] { PluginOptions("x", twice); }, ErrorCode::plugin);
}

TEST(PluginOptions, AreDescribedForPeople) {
  EXPECT_EQ(describe_option(kSpecs[0]), "a number from 0 to 1, default 0.95");
  EXPECT_EQ(describe_option(kSpecs[2]), "true or false, default false");
  EXPECT_EQ(describe_option(kSpecs[3]), "a text, default none");
  EXPECT_EQ(describe_option(kSpecs[4]), "a number, default 1");
}

TEST(OptionInput, ReadsEitherForm) {
  EXPECT_EQ(OptionInput().read("x", kSpecs).number("p"), 0.95);
  EXPECT_EQ(OptionInput::from_text("p=0.25").read("x", kSpecs).number("p"), 0.25);
  EXPECT_EQ(OptionInput::from_json({{"p", 0.125}}).read("x", kSpecs).number("p"), 0.125);
}

}  // namespace
}  // namespace quiver
