// What a lock file lets through.
#include "core/plugin/lock_file.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <quiver/error.hpp>

#include <gmock/gmock.h>

#include <sys/stat.h>

namespace quiver {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

const std::string kSum(64, 'a');
const std::string kOtherSum(64, 'b');

class LockFileTest : public testing::Test {
 protected:
  std::filesystem::path file() const { return folder.path() / "config" / "plugins.lock"; }

  quiver::test::TemporaryFolder folder;
};

TEST_F(LockFileTest, ThatDoesNotExistLetsEverythingThrough) {
  for (const LockFile& lock : {LockFile(), LockFile::read(file()), LockFile::read("")}) {
    EXPECT_FALSE(lock.exists());
    EXPECT_FALSE(lock.check("any", "/any.so", kSum));
  }
}

TEST_F(LockFileTest, LetsThroughWhatItPinsAndNothingElse) {
  LockFile::write(file(), {{"one", "/p/one.so", kSum}, {"two", "/p/two.so", kOtherSum}});
  const LockFile lock = LockFile::read(file());
  ASSERT_TRUE(lock.exists());
  EXPECT_THAT(lock.plugins(), SizeIs(2));
  EXPECT_FALSE(lock.check("one", "/p/one.so", kSum));
  EXPECT_FALSE(lock.check("one", "/elsewhere/one.so", kSum));

  const Refusal changed = lock.check("one", "/p/one.so", kOtherSum);
  EXPECT_EQ(changed.fault, PluginFault::changed_since_lock);
  EXPECT_THAT(changed.reason, HasSubstr("changed since it was locked"));
  const Refusal other = lock.check("one", "/q/one.so", kOtherSum);
  EXPECT_EQ(other.fault, PluginFault::not_locked);
  EXPECT_THAT(other.reason, HasSubstr("/p/one.so"));
  const Refusal unknown = lock.check("three", "/p/three.so", kSum);
  EXPECT_EQ(unknown.fault, PluginFault::not_locked);
  EXPECT_THAT(unknown.reason, HasSubstr("not in the lock file"));
}

TEST_F(LockFileTest, ThatPinsNothingLetsNothingThrough) {
  LockFile::write(file(), {});
  EXPECT_TRUE(LockFile::read(file()).check("one", "/p/one.so", kSum));
}

TEST_F(LockFileTest, ThatIsDamagedLetsNothingThrough) {
  for (const std::string text :
       {"", "{", "[]", "{\"quiver_lock\":1}", "{\"quiver_lock\":2,\"plugins\":[]}",
        "{\"quiver_lock\":1,\"plugins\":[{\"name\":\"one\"}]}",
        "{\"quiver_lock\":1,\"plugins\":[{\"name\":\"one\",\"path\":\"/"
        "p\",\"sha256\":\"abc\"}]}"}) {
    const auto path = folder.write("damaged", std::string_view(text));
    ::chmod(path.c_str(), 0644);
    const LockFile lock = LockFile::read(path);
    EXPECT_TRUE(lock.exists());
    EXPECT_EQ(lock.check("one", "/p", kSum).fault, PluginFault::not_locked) << text;
    EXPECT_THAT(lock.problem(), HasSubstr("malformed")) << text;
  }
}

TEST_F(LockFileTest, ThatOthersMayWriteLetsNothingThrough) {
  LockFile::write(file(), {{"one", "/p/one.so", kSum}});
  ::chmod(file().c_str(), 0666);
  EXPECT_TRUE(LockFile::read(file()).check("one", "/p/one.so", kSum));
}

TEST_F(LockFileTest, IsForTheUserAlone) {
  LockFile::write(file(), {});
  struct stat status {};
  ASSERT_EQ(::stat(file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(LockFileTest, ThatCannotBeWrittenIsAnError) {
  folder.write("config", std::string_view("a file in the folder's place"));
  EXPECT_THROW(LockFile::write(file(), {}), Error);
}

}  // namespace
}  // namespace quiver
