// Who may change what is loaded.
#include "core/plugin/file_trust.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <gmock/gmock.h>

#include <sys/stat.h>
#include <unistd.h>

namespace quiver {
namespace {

using testing::HasSubstr;

PluginFault file_fault(const std::filesystem::path& file) {
  struct stat status {};
  EXPECT_EQ(::stat(file.c_str(), &status), 0);
  return FileTrust().check_file(status, file).fault;
}

class FileTrustTest : public testing::Test {
 protected:
  void SetUp() override { ::chmod(folder.path().c_str(), 0755); }

  std::filesystem::path make_folder(const std::string& name, mode_t mode) const {
    std::filesystem::create_directory(folder.path() / name);
    ::chmod((folder.path() / name).c_str(), mode);
    return folder.path() / name;
  }

  quiver::test::TemporaryFolder folder;
};

TEST_F(FileTrustTest, RefusesFilesThatOthersMayWrite) {
  const std::filesystem::path file = folder.write("x.so", std::string_view("x"));
  for (const mode_t mode : {0644U, 0600U, 0755U, 0444U}) {
    ::chmod(file.c_str(), mode);
    EXPECT_EQ(file_fault(file), PluginFault::none) << std::oct << mode;
  }
  for (const mode_t mode : {0664U, 0646U, 0666U, 0777U, 0620U}) {
    ::chmod(file.c_str(), mode);
    EXPECT_EQ(file_fault(file), PluginFault::writable_file) << std::oct << mode;
  }
}

TEST_F(FileTrustTest, RefusesFoldersThatOthersMayWriteEvenStickyOnes) {
  EXPECT_FALSE(FileTrust().check_folder(make_folder("good", 0755)));
  for (const mode_t mode : {0775U, 0757U, 0777U, 01777U}) {
    const Refusal refusal = FileTrust().check_folder(make_folder("bad", mode));
    EXPECT_EQ(refusal.fault, PluginFault::writable_folder) << std::oct << mode;
    EXPECT_THAT(refusal.reason, HasSubstr("chmod go-w"));
  }
}

TEST_F(FileTrustTest, RefusesFoldersBelowOnesThatOthersMayWrite) {
  make_folder("open", 0777);
  EXPECT_EQ(FileTrust().check_folder(make_folder("open/inner", 0755)).fault,
            PluginFault::writable_folder);
}

TEST_F(FileTrustTest, TrustsFoldersBelowStickyOnes) {
  make_folder("sticky", 01777);
  EXPECT_FALSE(FileTrust().check_folder(make_folder("sticky/inner", 0755)));
}

TEST_F(FileTrustTest, LooksNoFurtherUpThanTheTrustedRoot) {
  make_folder("open", 0777);
  const auto root = make_folder("open/prefix", 0777);
  make_folder("open/prefix/lib", 0755);
  const auto inner = make_folder("open/prefix/lib/plugins", 0755);
  EXPECT_FALSE(FileTrust().check_folder(inner, root));
  ::chmod((root / "lib").c_str(), 0777);
  EXPECT_EQ(FileTrust().check_folder(inner, root).fault, PluginFault::writable_folder);
}

TEST_F(FileTrustTest, JudgesWhatALinkLeadsTo) {
  const auto open = make_folder("open", 0777);
  std::filesystem::create_directory_symlink(open, folder.path() / "link");
  EXPECT_EQ(FileTrust().check_folder(folder.path() / "link").fault, PluginFault::writable_folder);
}

TEST_F(FileTrustTest, TrustsAFolderThatDoesNotExist) {
  EXPECT_FALSE(FileTrust().check_folder(folder.path() / "none"));
}

TEST_F(FileTrustTest, RefusesForeignOwners) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const std::filesystem::path file = folder.write("x.so", std::string_view("x"));
  ASSERT_EQ(::chown(file.c_str(), 65534, 0), 0);
  EXPECT_EQ(file_fault(file), PluginFault::untrusted_owner);
  const auto foreign = make_folder("foreign", 0755);
  ASSERT_EQ(::chown(foreign.c_str(), 65534, 0), 0);
  EXPECT_EQ(FileTrust().check_folder(foreign).fault, PluginFault::untrusted_owner);
  EXPECT_EQ(FileTrust().check_folder(make_folder("foreign/inner", 0755)).fault,
            PluginFault::untrusted_owner);
}

}  // namespace
}  // namespace quiver
