// From names to what plugins make.
#include "core/plugin/offers.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <gmock/gmock.h>

#include <functional>

namespace quiver {
namespace {

using quiver::test::PluginFolder;
using testing::HasSubstr;

/// The error of a call; the test fails where there is none.
Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::internal, ""};
}

struct NoContext final : SamplerContext {
  std::span<const std::int32_t> history() const override { return {}; }
  std::size_t prompt_length() const override { return 0; }
  double uniform(std::uint32_t) const override { return 0; }
  const Vocabulary* vocabulary() const override { return nullptr; }
};

TEST(Offers, MakeSamplersWithTheUsersOptions) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  std::shared_ptr<const Sampler> sampler;
  {
    const PluginRegistry registry(folder.options());
    sampler = create_sampler(registry, "subject-good", OptionInput::from_text("factor=3"));
  }
  // The registry is gone; what it handed out is not.
  float logit = 2;
  std::int32_t id = 0;
  Candidates candidates{&logit, &id, 1, true, true};
  sampler->apply(candidates, NoContext(), {});
  EXPECT_EQ(logit, 6);
}

TEST(Offers, RefuseOptionsThatDoNotFit) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  const PluginRegistry registry(folder.options());
  const Error error = error_of(
      [&] { create_sampler(registry, "subject-good", OptionInput::from_text("factor=5")); });
  EXPECT_EQ(error.code(), ErrorCode::usage);
  EXPECT_THAT(error.what(), HasSubstr("a number from 0 to 4"));
}

TEST(Offers, NameWhatIsInstalledWhereANameIsNot) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  folder.add_subject("subject-wagon");
  const PluginRegistry registry(folder.options());
  const Error sampler = error_of([&] { create_sampler(registry, "none"); });
  EXPECT_EQ(sampler.code(), ErrorCode::plugin);
  EXPECT_THAT(sampler.what(), HasSubstr("there is no sampler 'none'"));
  EXPECT_THAT(sampler.what(), HasSubstr("installed are subject-good"));
  const Error model = error_of([&] { find_architecture(registry, "truck"); });
  EXPECT_EQ(model.code(), ErrorCode::plugin);
  EXPECT_THAT(model.what(), HasSubstr("'truck'"));
  EXPECT_THAT(model.what(), HasSubstr("wagon (wagon, cart)"));
  EXPECT_THAT(model.what(), HasSubstr("--plugin-path"));
  EXPECT_THAT(error_of([&] { find_gguf_architecture(registry, "truck"); }).what(),
              HasSubstr("wagon (wagon-gguf)"));
  EXPECT_THAT(error_of([&] { create_kv_strategy(registry, "none"); }).what(),
              HasSubstr("there is no KV strategy 'none'"));
  EXPECT_EQ(error_of([&] { quant_scheme(registry, "none"); }).code(), ErrorCode::plugin);
  EXPECT_EQ(error_of([&] { create_canvas_sampler(registry, "none"); }).code(), ErrorCode::plugin);
}

TEST(Offers, TellWhyThePluginThatWouldServeDoesNot) {
  const PluginFolder folder;
  folder.add_subject("subject-init-fails");
  const PluginRegistry registry(folder.options());
  const Error error = error_of([&] { create_sampler(registry, "subject-init-fails"); });
  EXPECT_EQ(error.code(), ErrorCode::plugin);
  EXPECT_THAT(error.what(), HasSubstr("its init returned 7"));
}

TEST(Offers, TurnAFactorysExceptionsIntoErrorsThatNameThePlugin) {
  const PluginFolder folder;
  folder.add_subject("subject-insists-later");
  folder.add_subject("subject-wants-option");
  const PluginRegistry registry(folder.options());
  const Error error = error_of([&] {
    create_sampler(registry, "subject-insists-later", OptionInput::from_text("label=x"));
  });
  EXPECT_EQ(error.code(), ErrorCode::plugin);
  EXPECT_THAT(error.what(), HasSubstr("plugin 'subject-insists-later'"));
  EXPECT_THAT(error.what(), HasSubstr("not that label"));
  // A plugin's own words about options stay what they are.
  const Error usage = error_of([&] { create_sampler(registry, "subject-wants-option"); });
  EXPECT_EQ(usage.code(), ErrorCode::usage);
  EXPECT_THAT(usage.what(), HasSubstr("the option 'label' is needed"));
}

TEST(Offers, GuardWhatArchitecturesThrow) {
  const PluginFolder folder;
  folder.add_subject("subject-wagon");
  const PluginRegistry registry(folder.options());
  const FoundArchitecture found = find_architecture(registry, "cart");
  EXPECT_EQ(found.offer, "wagon");
  const Error error = error_of([&] {
    call_plugin(found.plugin->name(), "asked for its rules",
                [&] { found.architecture->checkpoint_rules("int"); });
  });
  EXPECT_EQ(error.code(), ErrorCode::plugin);
  EXPECT_THAT(error.what(), HasSubstr("plugin 'subject-wagon' failed when asked for its rules"));
}

TEST(Offers, LoadNothingButWhatIsUsed) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  folder.add_subject("subject-wagon");
  const PluginRegistry registry(folder.options());
  create_sampler(registry, "subject-good");
  EXPECT_TRUE(quiver::test::is_mapped(folder.path() / "subject-good.so"));
  EXPECT_FALSE(quiver::test::is_mapped(folder.path() / "subject-wagon.so"));
}

}  // namespace
}  // namespace quiver
