// Manifests as plugins: found in a folder, described, loaded, rehearsed.
#include "core/plugin/manifest_plugins.hpp"

#include "tests/sdk/manifest_text.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <quiver/kv_strategy.hpp>
#include <quiver/sampler.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace {

using namespace quiver;
using quiver::test::manifest_json;
using quiver::test::sampler_json;
using quiver::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

std::string good_manifest() {
  return manifest_json(sampler_json("one", "first_two", "count", R"("logits","ids","count")") +
                       "," + sampler_json("two", "last_i32", "token", R"("ids","count")"));
}

TEST(ManifestPlugins, a_folder_lists_good_and_bad_manifests_by_name) {
  const TemporaryFolder folder;
  folder.write("b.sampler.json", good_manifest());
  folder.write("a.sampler.json", "{");
  folder.write("c.json", good_manifest());
  folder.write("c-samplers.so", "not looked at");
  std::filesystem::create_directory(folder.path() / "d.sampler.json");
  const auto entries = scan_manifests(folder.path());
  ASSERT_EQ(entries.size(), 3U);

  EXPECT_EQ(entries[0].state, PluginState::refused);
  EXPECT_EQ(entries[0].fault, PluginFault::bad_manifest);
  EXPECT_EQ(entries[0].descriptor.name, "a.sampler.json");
  EXPECT_THAT(entries[0].reason, HasSubstr("not valid JSON"));

  const PluginEntry& good = entries[1];
  EXPECT_EQ(good.origin, PluginOrigin::manifest);
  EXPECT_EQ(good.state, PluginState::unseen);
  EXPECT_EQ(good.path, folder.path() / "b.sampler.json");
  EXPECT_THAT(good.files,
              ElementsAre(folder.path() / "b.sampler.json", folder.path() / "c-samplers.so"));
  EXPECT_EQ(good.descriptor.name, "test");
  ASSERT_EQ(good.descriptor.offers.size(), 2U);
  EXPECT_EQ(good.descriptor.offers[1].kind, OfferKind::sampler);
  EXPECT_EQ(good.descriptor.offers[1].name, "two");

  EXPECT_EQ(entries[2].state, PluginState::refused);
  EXPECT_THAT(entries[2].reason, HasSubstr("regular file"));
}

TEST(ManifestPlugins, a_folder_that_does_not_exist_has_none) {
  EXPECT_TRUE(scan_manifests("/no/such/folder").empty());
}

TEST(ManifestPlugins, provide_samplers_and_nothing_else) {
  const TemporaryFolder folder;
  const auto manifest = PluginFile::open(folder.write("x.sampler.json", good_manifest()));
  const auto plugin = load_manifest_plugin(manifest, PluginFile::open(QUIVER_TEST_C_SAMPLERS));
  EXPECT_EQ(plugin->name(), "test");
  ASSERT_NE(plugin->get<SamplerFactory>(), nullptr);
  EXPECT_TRUE(plugin->get<SamplerFactory>()->options("one").empty());
  for (const char* id : {"", "quiver.sampler/10", "quiver.sampler"}) {
    EXPECT_EQ(plugin->provider(id), nullptr) << id;
  }
  EXPECT_EQ(plugin->get<KvStrategyFactory>(), nullptr);
}

TEST(ManifestPlugins, rehearse_each_function_once) {
  const TemporaryFolder folder;
  const auto library = PluginFile::open(QUIVER_TEST_C_SAMPLERS);
  const auto good = PluginFile::open(folder.write("x.sampler.json", good_manifest()));
  EXPECT_NO_THROW(rehearse_manifest_plugin(good, library));
  const auto bad = PluginFile::open(
      folder.write("y.sampler.json",
                   manifest_json(sampler_json("s", "infinite", "void", R"("logits","count")"))));
  quiver::test::expect_refused([&] { rehearse_manifest_plugin(bad, library); }, "+infinity",
                               ErrorCode::plugin);
  const auto missing = PluginFile::open(
      folder.write("z.sampler.json",
                   manifest_json(sampler_json("s", "nothing", "void", R"("logits","count")"))));
  quiver::test::expect_refused([&] { load_manifest_plugin(missing, library); },
                               "'nothing' is missing", ErrorCode::plugin);
}

}  // namespace
