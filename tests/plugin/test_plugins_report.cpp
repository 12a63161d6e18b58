// What the plugin commands print.
#include "host/cli/plugins_report.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

using Json = nlohmann::ordered_json;
using quiver::test::PluginFolder;
using testing::HasSubstr;
using testing::Not;

std::vector<PluginEntry> three_entries() {
  PluginEntry good;
  good.path = "/p/good.so";
  good.state = PluginState::ok;
  good.descriptor.name = "good";
  good.descriptor.version = "1.0.0";
  good.descriptor.offers = {{OfferKind::sampler, "one", "First", {}, {}},
                            {OfferKind::kv_strategy, "two", "Second", {}, {}}};
  PluginEntry wagon = good;
  wagon.path = "/p/wagon.so";
  wagon.state = PluginState::shadowed;
  wagon.fault = PluginFault::shadowed;
  wagon.reason = "another came first";
  wagon.descriptor.name = "wagon";
  wagon.descriptor.offers = {{OfferKind::architecture, "wagon", "Runs", {"wagon", "cart"}, {}}};
  PluginEntry bad;
  bad.path = "/p/bad.so";
  bad.state = PluginState::refused;
  bad.fault = PluginFault::not_elf;
  bad.reason = "not an ELF file";
  bad.descriptor.name = "bad";
  return {good, wagon, bad};
}

TEST(PluginsReport, ListsEveryPluginWithTheContractsKeys) {
  const Json json = plugins_list_json(three_entries());
  ASSERT_EQ(json["plugins"].size(), 3U);
  const Json& good = json["plugins"][0];
  EXPECT_EQ(good["name"], "good");
  EXPECT_EQ(good["version"], "1.0.0");
  EXPECT_EQ(good["kind"], "sampler");
  EXPECT_EQ(good["path"], "/p/good.so");
  EXPECT_EQ(good["state"], "ok");
  EXPECT_EQ(good["reason"], "");
  EXPECT_EQ(good["offers"][1]["kind"], "kv");
  EXPECT_EQ(good["offers"][1]["name"], "two");
  EXPECT_EQ(good["offers"][1]["summary"], "Second");
  const Json& wagon = json["plugins"][1];
  EXPECT_EQ(wagon["state"], "shadowed");
  EXPECT_EQ(wagon["offers"][0]["model_types"], Json({"wagon", "cart"}));
  const Json& bad = json["plugins"][2];
  EXPECT_EQ(bad["state"], "refused");
  EXPECT_EQ(bad["kind"], "unknown");
  EXPECT_EQ(bad["reason"], "not an ELF file");
  EXPECT_EQ(bad["reason_code"], "not-elf");
}

TEST(PluginsReport, FiltersByKind) {
  EXPECT_EQ(of_kind(three_entries(), std::nullopt).size(), 3U);
  const auto strategies = of_kind(three_entries(), OfferKind::kv_strategy);
  ASSERT_EQ(strategies.size(), 1U);
  EXPECT_EQ(strategies[0].descriptor.name, "good");
}

TEST(PluginsReport, AlignsItsTableAndColoursOnlyTerminals) {
  const std::string text = plugins_list_text(three_entries(), false);
  EXPECT_THAT(text, HasSubstr("ok        good   1.0.0    sampler, kv   one, two\n"));
  EXPECT_THAT(text, HasSubstr("refused   bad             unknown       \n"));
  EXPECT_THAT(text, HasSubstr("          not an ELF file\n"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(plugins_list_text(three_entries(), true), HasSubstr("\x1b[32mok"));
  EXPECT_EQ(plugins_list_text({}, false), "no plugins found\n");
}

TEST(PluginsReport, InspectsOptionsWithRangesAndDefaults) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  const PluginRegistry registry(folder.options());
  const PluginInspection inspection = inspect_plugin(registry, "subject-good");
  const Json json = plugin_inspection_json(inspection);
  EXPECT_EQ(json["name"], "subject-good");
  EXPECT_EQ(json["api"], "2.0");
  ASSERT_EQ(json["options"].size(), 2U);
  EXPECT_EQ(json["options"][0], Json({{"offer", "subject-good"},
                                      {"name", "factor"},
                                      {"type", "number"},
                                      {"default", 1.0},
                                      {"minimum", 0.0},
                                      {"maximum", 4.0},
                                      {"summary", "What logits are multiplied by"}}));
  EXPECT_EQ(json["options"][1]["default"], "none");
  EXPECT_EQ(json["options"][1]["minimum"], nullptr);
  EXPECT_THAT(plugin_inspection_text(inspection, false),
              HasSubstr("factor               What logits are multiplied by (a number from 0 to 4, "
                        "default 1)"));
}

TEST(PluginsReport, InspectsABadPluginWithoutLoadingIt) {
  const PluginFolder folder;
  folder.add("bad.so", std::string_view("no library"));
  const PluginRegistry registry(folder.options());
  const PluginInspection inspection = inspect_plugin(registry, (folder.path() / "bad.so").string());
  EXPECT_EQ(inspection.library, nullptr);
  EXPECT_EQ(plugin_inspection_json(inspection)["state"], "refused");
  EXPECT_THAT(plugin_inspection_text(inspection, false), HasSubstr("not an ELF file"));
}

TEST(PluginsReport, SaysWhichPluginsThereAre) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  try {
    inspect_plugin(PluginRegistry(folder.options()), "none");
    FAIL() << "found a plugin";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::plugin);
    EXPECT_THAT(error.what(), HasSubstr("found are subject-good"));
  }
}

TEST(PluginsReport, TellsWhatIsLockedAndVerified) {
  const LockedPlugin plugin{"good", "/p/good.so", std::string(64, 'a')};
  const Json locked = plugins_lock_json("/c/plugins.lock", {&plugin, 1});
  EXPECT_EQ(locked["lock_file"], "/c/plugins.lock");
  EXPECT_EQ(locked["plugins"][0]["sha256"], plugin.sha256);
  const VerifiedPlugin verified[] = {{plugin, LockedState::same}, {plugin, LockedState::changed}};
  const Json json = plugins_verify_json(verified);
  EXPECT_EQ(json["passed"], 1);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["plugins"][1]["state"], "changed");
  EXPECT_EQ(plugins_verify_text(verified, false),
            "ok       good (/p/good.so)\nchanged  good (/p/good.so)\n");
}

}  // namespace
}  // namespace quiver::cli
