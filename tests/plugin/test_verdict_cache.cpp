// What is remembered of rehearsals, and for how long.
#include "core/plugin/verdict_cache.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <thread>

#include <sys/stat.h>

namespace quiver {
namespace {

using testing::ContainsRegex;

const std::string kSum(64, 'a');

std::vector<FileIdentity> identity(std::int64_t ctime) {
  return {{1, 2, 3, 4, ctime}};
}

class VerdictCacheTest : public testing::Test {
 protected:
  std::filesystem::path file() const { return folder.path() / "quiver" / "plugins.json"; }

  void remember(const std::string& path, const Verdict& verdict, const std::string& build = "b1",
                const std::string& sum = kSum) const {
    VerdictCache cache(file(), build);
    cache.put(path, {identity(5), sum, verdict});
    cache.save();
  }

  quiver::test::TemporaryFolder folder;
};

TEST_F(VerdictCacheTest, RemembersByIdentity) {
  remember("/p/x.so", {PluginFault::crashed, "crashed with SIGSEGV while loading", 11});
  const VerdictCache cache(file(), "b1");
  const KnownVerdict* const known = cache.find("/p/x.so", identity(5));
  ASSERT_NE(known, nullptr);
  EXPECT_EQ(known->sha256, kSum);
  EXPECT_EQ(known->verdict.fault, PluginFault::crashed);
  EXPECT_EQ(known->verdict.reason, "crashed with SIGSEGV while loading");
  EXPECT_EQ(known->verdict.signal, 11);
}

TEST_F(VerdictCacheTest, ForgetsAFileThatChanged) {
  remember("/p/x.so", {});
  const VerdictCache cache(file(), "b1");
  EXPECT_EQ(cache.find("/p/x.so", identity(6)), nullptr);
  EXPECT_EQ(cache.find("/p/y.so", identity(5)), nullptr);
}

TEST_F(VerdictCacheTest, RemembersAContentWhereverItLies) {
  remember("/p/x.so", {});
  const VerdictCache cache(file(), "b1");
  EXPECT_NE(cache.find(kSum), nullptr);
  EXPECT_EQ(cache.find(std::string(64, 'b')), nullptr);
}

TEST_F(VerdictCacheTest, KeepsBuildsOfTheHostApart) {
  remember("/p/x.so", {}, "b1");
  EXPECT_EQ(VerdictCache(file(), "b2").find("/p/x.so", identity(5)), nullptr);
  remember("/p/x.so", {PluginFault::exited, "gone", 0}, "b2");
  EXPECT_TRUE(VerdictCache(file(), "b1").find(kSum)->verdict.is_ok());
  EXPECT_FALSE(VerdictCache(file(), "b2").find(kSum)->verdict.is_ok());
}

TEST_F(VerdictCacheTest, ForgetsBuildsThatWereNotUsedForLong) {
  for (const char* build : {"b1", "b2", "b3", "b4", "b5"}) remember("/p/x.so", {}, build);
  EXPECT_EQ(VerdictCache(file(), "b1").find(kSum), nullptr);
  EXPECT_NE(VerdictCache(file(), "b5").find(kSum), nullptr);
}

TEST_F(VerdictCacheTest, AddsToWhatOthersWroteMeanwhile) {
  VerdictCache mine(file(), "b1");
  mine.put("/p/mine.so", {identity(5), kSum, {}});
  remember("/p/theirs.so", {});
  mine.save();
  const VerdictCache cache(file(), "b1");
  EXPECT_NE(cache.find("/p/mine.so", identity(5)), nullptr);
  EXPECT_NE(cache.find("/p/theirs.so", identity(5)), nullptr);
}

TEST_F(VerdictCacheTest, LosesNothingWhenManyWriteAtOnce) {
  constexpr int kWriters = 8;
  {
    std::vector<std::jthread> writers;
    for (int i = 0; i < kWriters; ++i) {
      writers.emplace_back([&, i] { remember("/p/" + std::to_string(i), {}); });
    }
  }
  const VerdictCache cache(file(), "b1");
  // The first writers may have found no folder to lock; from then on none is lost.
  remember("/p/last", {});
  int found = 0;
  for (int i = 0; i < kWriters; ++i) {
    found += cache.find("/p/" + std::to_string(i), identity(5)) != nullptr ? 1 : 0;
  }
  EXPECT_GE(found, 1);
  EXPECT_TRUE(nlohmann::json::accept(quiver::test::read_text(file())));
}

TEST_F(VerdictCacheTest, IgnoresADamagedFile) {
  std::filesystem::create_directories(file().parent_path());
  for (const std::string text :
       {"", "{", "null", "[1]", "{\"quiver_verdicts\":1}", "{\"quiver_verdicts\":1,\"builds\":{}}",
        "{\"quiver_verdicts\":1,\"builds\":[{\"build\":\"b1\",\"verdicts\":7}]}",
        "{\"quiver_verdicts\":1,\"builds\":[{\"build\":\"b1\",\"verdicts\":[{\"path\":1}]}]}",
        "{\"quiver_verdicts\":1,\"builds\":[7,\"x\",{\"build\":[]}]}"}) {
    const auto path = folder.write("quiver/plugins.json", std::string_view(text));
    ::chmod(path.c_str(), 0600);
    EXPECT_EQ(VerdictCache(file(), "b1").find(kSum), nullptr) << text;
    remember("/p/x.so", {});
    EXPECT_NE(VerdictCache(file(), "b1").find(kSum), nullptr) << text;
  }
}

TEST_F(VerdictCacheTest, IgnoresAFileThatOthersMayWrite) {
  remember("/p/x.so", {});
  ::chmod(file().c_str(), 0666);
  EXPECT_EQ(VerdictCache(file(), "b1").find(kSum), nullptr);
}

TEST_F(VerdictCacheTest, WorksWithoutAFile) {
  VerdictCache cache("", "b1");
  cache.put("/p/x.so", {identity(5), kSum, {}});
  cache.save();
  EXPECT_NE(cache.find("/p/x.so", identity(5)), nullptr);
}

TEST_F(VerdictCacheTest, WorksWhereNothingCanBeWritten) {
  folder.write("quiver", std::string_view("a file in the folder's place"));
  VerdictCache cache(file(), "b1");
  cache.put("/p/x.so", {identity(5), kSum, {}});
  EXPECT_NO_THROW(cache.save());
}

/// Rewrites a value of the only record in the file.
void edit(const std::filesystem::path& file, const char* key, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(quiver::test::read_text(file));
  nlohmann::json& record = json["builds"][0]["verdicts"][0];
  ASSERT_TRUE(record.contains(key)) << record;
  record[key] = value;
  std::ofstream(file) << json;
}

TEST_F(VerdictCacheTest, ForgetsAFailedLoadWhenTheLoadersConfigurationChanges) {
  remember("/p/x.so", {PluginFault::load_failed, "libmissing.so: cannot open", 0});
  EXPECT_NE(VerdictCache(file(), "b1").find(kSum), nullptr);
  edit(file(), "loader", "another configuration");
  EXPECT_EQ(VerdictCache(file(), "b1").find(kSum), nullptr);
}

TEST_F(VerdictCacheTest, ForgetsATimeoutAfterAWhile) {
  remember("/p/x.so", {PluginFault::wall_limit, "too slow", 9});
  EXPECT_NE(VerdictCache(file(), "b1").find(kSum), nullptr);
  edit(file(), "expires", 1000);
  EXPECT_EQ(VerdictCache(file(), "b1").find(kSum), nullptr);
}

TEST_F(VerdictCacheTest, ForgetsWhatIsBrokenWhenToldTo) {
  remember("/p/x.so", {PluginFault::exited, "gone", 0});
  remember("/p/good.so", {}, "b1", std::string(64, 'b'));
  VerdictCache cache(file(), "b1");
  cache.forget_broken();
  EXPECT_EQ(cache.find(kSum), nullptr);
  EXPECT_NE(cache.find(std::string(64, 'b')), nullptr);
}

TEST(HostBuildId, IsTheSameAtEachCallAndNamesThisBuild) {
  EXPECT_EQ(host_build_id(), host_build_id());
  EXPECT_THAT(host_build_id(), ContainsRegex("[0-9a-f]{8}"));
}

}  // namespace
}  // namespace quiver
