// What a registry finds, which plugin serves a name, and what loading does.
#include "core/plugin/registry.hpp"

#include "core/plugin/lock_plugins.hpp"
#include "core/plugin/offers.hpp"
#include "tests/plugin/plugin_fixture.hpp"

#include <gmock/gmock.h>

namespace quiver {
namespace {

using quiver::test::entry_of;
using quiver::test::PluginFolder;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Options whose rehearsals would fail, for tests that must not need any.
RegistryOptions without_rehearsal(const PluginFolder& folder) {
  RegistryOptions options = folder.options();
  options.rehearsal.program = "/none/rehearses/nothing";
  return options;
}

TEST(PluginRegistry, ListsGoodPluginsInOrder) {
  const PluginFolder folder;
  folder.add("b.so", quiver::test::renamed("second", "two"));
  folder.add("a.so", quiver::test::renamed("first", "one"));
  folder.add("notes.txt", std::string_view("no plugin"));
  folder.add(".hidden.so", std::string_view("an editor's file"));
  std::filesystem::create_directory(folder.path() / "inner");
  const auto entries = PluginRegistry(folder.options()).entries();
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].descriptor.name, "first");
  EXPECT_EQ(entries[1].descriptor.name, "second");
  for (const PluginEntry& entry : entries) {
    EXPECT_EQ(entry.state, PluginState::ok) << entry.reason;
    EXPECT_THAT(entry.reason, IsEmpty());
  }
}

TEST(PluginRegistry, OfNoFoldersIsEmpty) {
  RegistryOptions options;
  options.search_path.folders = {{"/none/such", FolderSource::option, {}}};
  EXPECT_THAT(PluginRegistry(options).entries(), IsEmpty());
}

TEST(PluginRegistry, RehearsesEachContentOnce) {
  const PluginFolder folder;
  const RegistryOptions options = folder.counting_options();
  folder.add_subject("subject-good", "a.so");
  folder.add_subject("subject-good", "b.so");
  EXPECT_EQ(PluginRegistry(options).entries()[0].state, PluginState::ok);
  EXPECT_EQ(folder.rehearsals(), 1U);
  folder.add_subject("subject-good", "c.so");
  EXPECT_EQ(PluginRegistry(options).entries()[0].state, PluginState::ok);
  const PluginRegistry registry(options);
  registry.load(registry.find_plugin("subject-good").value());
  EXPECT_EQ(folder.rehearsals(), 1U);
}

TEST(PluginRegistry, RehearsesAgainWhatChanged) {
  const PluginFolder folder;
  const RegistryOptions options = folder.counting_options();
  folder.add("a.so", quiver::test::renamed("first", "one"));
  PluginRegistry(options).entries();
  folder.add("a.so", quiver::test::renamed("first", "two"));
  EXPECT_EQ(PluginRegistry(options).entries()[0].descriptor.offers[0].name, "two");
  EXPECT_EQ(folder.rehearsals(), 2U);
}

TEST(PluginRegistry, RehearsesBrokenPluginsAnewWhenToldTo) {
  const PluginFolder folder;
  RegistryOptions options = folder.counting_options();
  folder.add_subject("subject-init-fails");
  folder.add_subject("subject-good");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(entry_of(PluginRegistry(options).entries(), "subject-init-fails.so").state,
              PluginState::broken);
  }
  EXPECT_EQ(folder.rehearsals(), 2U);
  options.forgets_broken = true;
  PluginRegistry(options).entries();
  EXPECT_EQ(folder.rehearsals(), 3U);
}

TEST(PluginRegistry, ListsTwentyKnownPluginsWithoutOpeningOne) {
  const PluginFolder folder;
  const RegistryOptions options = folder.counting_options();
  for (int i = 0; i < 20; ++i) {
    const std::string name = "plugin-" + std::to_string(i);
    folder.add(name + ".so", quiver::test::renamed(name, name));
  }
  ASSERT_THAT(PluginRegistry(options).entries(), SizeIs(20));
  ASSERT_EQ(folder.rehearsals(), 20U);
  for (const PluginEntry& entry : PluginRegistry(options).entries()) {
    EXPECT_EQ(entry.state, PluginState::ok) << entry.reason;
  }
  EXPECT_EQ(folder.rehearsals(), 20U);
  EXPECT_FALSE(quiver::test::is_mapped(folder.path()));
}

TEST(PluginRegistry, LooksUpNamesWithoutRehearsingOthers) {
  const PluginFolder folder;
  folder.add_subject("subject-sleeps", "a.so");
  folder.add_subject("subject-good", "b.so");
  const PluginRegistry registry(folder.options());
  const auto found = registry.find_offer(OfferKind::sampler, "subject-good");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->plugin.path.filename(), "b.so");
  EXPECT_EQ(entry_of(registry.candidates(), "a.so").state, PluginState::unseen);
  EXPECT_FALSE(registry.find_offer(OfferKind::kv_strategy, "subject-good"));
  EXPECT_FALSE(registry.find_offer(OfferKind::sampler, "none"));
}

TEST(PluginRegistry, FindsArchitecturesByWhatTheyRun) {
  const PluginFolder folder;
  folder.add_subject("subject-wagon");
  const PluginRegistry registry(folder.options());
  EXPECT_EQ(registry.find_architecture("cart").value().offer.name, "wagon");
  EXPECT_EQ(registry.find_gguf_architecture("wagon-gguf").value().offer.name, "wagon");
  EXPECT_FALSE(registry.find_architecture("wagon-gguf"));
  EXPECT_FALSE(registry.find_architecture(""));
}

TEST(PluginRegistry, LetsTheFirstOfTwoWithOneOfferWin) {
  const PluginFolder folder;
  folder.add_subject("subject-good", "a.so");
  folder.add_subject("subject-rival", "b.so");
  const PluginRegistry registry(folder.options());
  const PluginEntry loser = entry_of(registry.entries(), "b.so");
  EXPECT_EQ(loser.state, PluginState::shadowed);
  EXPECT_THAT(loser.reason, HasSubstr("sampler 'subject-good' comes from plugin 'subject-good'"));
  EXPECT_THAT(loser.reason, HasSubstr("a.so"));
  EXPECT_EQ(registry.find_offer(OfferKind::sampler, "subject-good")->plugin.path.filename(),
            "a.so");
}

TEST(PluginRegistry, LetsTheFirstFolderWin) {
  const PluginFolder first;
  const PluginFolder second;
  first.add_subject("subject-good", "z.so");
  second.add_subject("subject-good", "a.so");
  RegistryOptions options = first.options();
  options.search_path.folders.push_back(second.options().search_path.folders.front());
  const auto entries = PluginRegistry(options).entries();
  EXPECT_EQ(entry_of(entries, "z.so").state, PluginState::ok);
  EXPECT_EQ(entry_of(entries, "a.so").state, PluginState::shadowed);
}

TEST(PluginRegistry, LetsNoBadPluginShadowAGoodOne) {
  const PluginFolder folder;
  folder.add("a.so", [] {
    auto bytes = quiver::test::read_bytes(quiver::test::subject("subject-init-fails"));
    quiver::test::set_text(quiver::test::descriptor_in(bytes).offers[0].name, "subject-good");
    return bytes;
  }());
  folder.add_subject("subject-good", "b.so");
  for (const bool looks_first : {true, false}) {
    const PluginRegistry registry(folder.options());
    if (looks_first) {
      const auto found = registry.find_offer(OfferKind::sampler, "subject-good");
      ASSERT_TRUE(found);
      EXPECT_EQ(found->plugin.path.filename(), "b.so");
    }
    const auto entries = registry.entries();
    EXPECT_EQ(entry_of(entries, "a.so").state, PluginState::broken);
    EXPECT_EQ(entry_of(entries, "b.so").state, PluginState::ok);
  }
}

TEST(PluginRegistry, ShadowsAnArchitectureWhoseModelTypesAreAllTaken) {
  const PluginFolder folder;
  folder.add_subject("subject-wagon", "a.so");
  folder.add_subject("subject-cart", "b.so");
  const PluginRegistry registry(folder.options());
  EXPECT_EQ(entry_of(registry.entries(), "b.so").state, PluginState::shadowed);
  EXPECT_EQ(registry.find_architecture("cart")->plugin.path.filename(), "a.so");
}

TEST(PluginRegistry, NotesSingleShadowedOffersOfAGoodPlugin) {
  const PluginFolder folder;
  folder.add_subject("subject-cart", "a.so");
  folder.add_subject("subject-wagon", "b.so");
  const PluginRegistry registry(folder.options());
  const PluginEntry entry = entry_of(registry.entries(), "b.so");
  EXPECT_EQ(entry.state, PluginState::ok);
  EXPECT_EQ(registry.find_architecture("cart")->plugin.path.filename(), "a.so");
  EXPECT_EQ(registry.find_architecture("wagon")->plugin.path.filename(), "b.so");
}

TEST(PluginRegistry, LoadsOnceAndKeepsTheLibrary) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  const PluginRegistry registry(folder.options());
  const PluginEntry entry = registry.find_plugin("subject-good").value();
  EXPECT_FALSE(quiver::test::is_mapped(folder.path()));
  const auto library = registry.load(entry);
  EXPECT_EQ(registry.load(entry), library);
  EXPECT_EQ(library->name(), "subject-good");
  EXPECT_TRUE(quiver::test::is_mapped(folder.path()));
}

TEST(PluginRegistry, JudgesAgainWhatChangedSinceItLooked) {
  const PluginFolder folder;
  const auto path = folder.add_subject("subject-good");
  const PluginRegistry registry(folder.options());
  const PluginEntry entry = registry.find_plugin("subject-good").value();
  folder.add("subject-good.so", std::string_view("overwritten"));
  try {
    registry.load(entry);
    FAIL() << "was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::plugin);
    EXPECT_THAT(error.what(), HasSubstr("not an ELF file"));
  }
}

TEST(PluginRegistry, RehearsesBeforeLoadingWhatIsNewUnderAKnownName) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  const PluginRegistry registry(folder.options());
  const PluginEntry entry = registry.find_plugin("subject-good").value();
  folder.add_subject("subject-crashes", "subject-good.so");
  EXPECT_THROW(registry.load(entry), Error);
}

TEST(PluginRegistry, FindsAPluginByItsFile) {
  const PluginFolder folder;
  const auto path = folder.add_subject("subject-good");
  RegistryOptions options = folder.options();
  options.search_path.folders.clear();
  const PluginRegistry registry(options);
  EXPECT_EQ(registry.find_plugin(path.string()).value().state, PluginState::ok);
  EXPECT_FALSE(registry.find_plugin("subject-good"));
  EXPECT_FALSE(registry.find_plugin((folder.path() / "none.so").string()));
}

TEST(PluginRegistry, TakesManifestsAndNotTheLibrariesTheyClaim) {
  const PluginFolder folder;
  folder.add("functions.so", quiver::test::read_bytes(quiver::test::subject("plain-functions")));
  folder.add("half.sampler.json", std::string_view(R"({"quiver_sampler": 1, "name": "plain",
    "version": "1.0.0", "license": "MIT", "summary": "Plain functions", "library": "functions.so",
    "samplers": [{"name": "halve", "summary": "Halves logits", "symbol": "halve", "result": "void",
                  "arguments": ["logits", "count"]}]})"));
  const PluginRegistry registry(folder.options());
  const auto entries = registry.entries();
  ASSERT_THAT(entries, SizeIs(1)) << entries.back().reason;
  EXPECT_EQ(entries[0].state, PluginState::ok) << entries[0].reason;
  EXPECT_EQ(entries[0].origin, PluginOrigin::manifest);
  EXPECT_NE(create_sampler(registry, "halve"), nullptr);
  EXPECT_EQ(registry.find_plugin((folder.path() / "half.sampler.json").string()).value().state,
            PluginState::ok);
}

TEST(PluginRegistry, LoadsNothingButWhatIsLocked) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  ASSERT_THAT(lock_plugins(PluginRegistry(folder.options())), SizeIs(1));
  folder.add_subject("subject-wagon");
  {
    const PluginRegistry registry(folder.options());
    const auto entries = registry.entries();
    EXPECT_EQ(entry_of(entries, "subject-good.so").state, PluginState::ok);
    const PluginEntry late = entry_of(entries, "subject-wagon.so");
    EXPECT_EQ(late.state, PluginState::refused);
    EXPECT_EQ(late.fault, PluginFault::not_locked);
    EXPECT_THROW(registry.load(late), Error);
    EXPECT_FALSE(registry.find_architecture("wagon"));
    EXPECT_EQ(verify_plugins(registry)[0].state, LockedState::same);
  }
  folder.add("subject-good.so", quiver::test::renamed("subject-good", "other"));
  const PluginRegistry registry(folder.options());
  const PluginEntry changed = entry_of(registry.entries(), "subject-good.so");
  EXPECT_EQ(changed.state, PluginState::refused);
  EXPECT_EQ(changed.fault, PluginFault::changed_since_lock);
  EXPECT_EQ(verify_plugins(registry)[0].state, LockedState::changed);
  // Locking again takes what is there now.
  EXPECT_THAT(lock_plugins(registry), SizeIs(2));
  for (const PluginEntry& entry : PluginRegistry(folder.options()).entries()) {
    EXPECT_EQ(entry.state, PluginState::ok) << entry.reason;
  }
  std::filesystem::remove(folder.path() / "subject-good.so");
  EXPECT_EQ(verify_plugins(PluginRegistry(folder.options()))[0].state, LockedState::missing);
}

TEST(PluginRegistry, TellsAProgramThatCannotRehearseFromABadPlugin) {
  const PluginFolder folder;
  folder.add_subject("subject-good");
  const auto entries = PluginRegistry(without_rehearsal(folder)).entries();
  ASSERT_THAT(entries, SizeIs(1));
  EXPECT_THAT(entries[0].reason, HasSubstr("it cannot be tried out"));
  // And does not remember it against the plugin.
  EXPECT_EQ(PluginRegistry(folder.options()).entries()[0].state, PluginState::ok);
}

}  // namespace
}  // namespace quiver
