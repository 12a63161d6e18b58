// A folder full of bad plugins: each is listed with its own reason, and the good one works.
#include "core/plugin/offers.hpp"
#include "core/plugin/registry.hpp"
#include "tests/plugin/plugin_fixture.hpp"

#include <elf.h>
#include <gmock/gmock.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace quiver {
namespace {

using quiver::test::entry_of;
using quiver::test::PluginFolder;
using testing::HasSubstr;

class BadFolder : public testing::Test {
 protected:
  void SetUp() override { folder.add_subject("subject-good", "good.so"); }

  /// Expects the entry of a file in a state with a fault, and the good plugin beside it to work.
  void expect(const std::string& file_name, PluginState state, PluginFault fault,
              const std::string& words = {}) const {
    const PluginRegistry registry(folder.options());
    const auto entries = registry.entries();
    const PluginEntry entry = entry_of(entries, file_name);
    EXPECT_EQ(state_name(entry.state), state_name(state)) << entry.reason;
    EXPECT_EQ(fault_name(entry.fault), fault_name(fault)) << entry.reason;
    EXPECT_THAT(entry.reason, HasSubstr(words));
    EXPECT_FALSE(entry.descriptor.name.empty());
    EXPECT_THROW(registry.load(entry), Error);
    EXPECT_EQ(entry_of(entries, "good.so").state, PluginState::ok);
    EXPECT_NE(create_sampler(registry, "subject-good"), nullptr);
  }

  void expect_refused(const std::string& file_name, PluginFault fault,
                      const std::string& words = {}) const {
    expect(file_name, PluginState::refused, fault, words);
  }

  std::vector<std::byte> other_good() const { return quiver::test::renamed("other", "other"); }

  PluginFolder folder;
};

TEST_F(BadFolder, HoldsAFileThatIsNoElf) {
  folder.add("bad.so", std::string_view("#!/bin/sh\nexit 0\n"));
  expect_refused("bad.so", PluginFault::not_elf, "not an ELF file");
}

TEST_F(BadFolder, HoldsAPluginFor32Bits) {
  auto bytes = other_good();
  bytes[EI_CLASS] = std::byte{ELFCLASS32};
  folder.add("bad.so", bytes);
  expect_refused("bad.so", PluginFault::wrong_class, "32-bit");
}

TEST_F(BadFolder, HoldsAPluginForAnotherMachine) {
  auto bytes = other_good();
  reinterpret_cast<Elf64_Ehdr*>(bytes.data())->e_machine = EM_S390;
  folder.add("bad.so", bytes);
  expect_refused("bad.so", PluginFault::wrong_machine, "built for s390");
}

TEST_F(BadFolder, HoldsTruncatedPlugins) {
  const auto bytes = other_good();
  for (const std::size_t size : {std::size_t{100}, bytes.size() / 3, bytes.size() - 1}) {
    folder.add("bad.so", std::span(bytes).first(size));
    expect_refused("bad.so", PluginFault::truncated, "truncated");
  }
}

TEST_F(BadFolder, HoldsAPluginOfTheFuture) {
  auto bytes = other_good();
  quiver::test::descriptor_in(bytes).api_minor = 9;
  folder.add("bad.so", bytes);
  expect_refused("bad.so", PluginFault::api_minor, "built for API 2.9, this host speaks 2.0");
}

TEST_F(BadFolder, HoldsPluginsThatDoNotSurviveTheirRehearsal) {
  folder.add_subject("subject-aborts");
  folder.add_subject("subject-prints");
  folder.add_subject("subject-undefined-symbol");
  folder.add_subject("subject-factory-throws");
  expect("subject-aborts.so", PluginState::broken, PluginFault::crashed, "SIGABRT");
  expect("subject-prints.so", PluginState::broken, PluginFault::prints_to_stdout, "stdout");
  expect("subject-undefined-symbol.so", PluginState::broken, PluginFault::load_failed,
         "undefined symbol");
  expect("subject-factory-throws.so", PluginState::broken, PluginFault::factory_failed,
         "no sampler today");
}

TEST_F(BadFolder, HoldsAPluginWithoutItsSymbol) {
  folder.add_subject("subject-no-entry");
  expect_refused("subject-no-entry.so", PluginFault::no_entry_symbol, "quiver_plugin");
}

TEST_F(BadFolder, HoldsWritableFiles) {
  for (const mode_t mode : {0664U, 0646U}) {
    ::chmod(folder.add("bad.so", other_good()).c_str(), mode);
    expect_refused("bad.so", PluginFault::writable_file, "chmod go-w");
  }
}

TEST_F(BadFolder, HoldsLinksToWritableThings) {
  const auto outside = folder.base() / "outside";
  std::filesystem::create_directory(outside);
  const auto target = outside / "real.so";
  std::filesystem::rename(folder.add("bad.so", other_good()), target);
  std::filesystem::create_symlink(target, folder.path() / "bad.so");
  ::chmod(outside.c_str(), 0755);
  EXPECT_EQ(entry_of(PluginRegistry(folder.options()).entries(), "bad.so").state, PluginState::ok);

  ::chmod(target.c_str(), 0666);
  expect_refused("bad.so", PluginFault::writable_file);
  ::chmod(target.c_str(), 0644);
  ::chmod(outside.c_str(), 0777);
  expect_refused("bad.so", PluginFault::writable_folder);
}

TEST_F(BadFolder, HoldsThingsThatAreNoFiles) {
  std::filesystem::create_directory(folder.path() / "folder.so");
  ASSERT_EQ(::mkfifo((folder.path() / "fifo.so").c_str(), 0644), 0);
  std::filesystem::create_symlink("/none/such", folder.path() / "dangling.so");
  std::filesystem::create_symlink("loop.so", folder.path() / "loop.so");
  expect_refused("folder.so", PluginFault::not_a_file, "a folder");
  expect_refused("fifo.so", PluginFault::not_a_file, "not a regular file");
  expect_refused("dangling.so", PluginFault::not_a_file, "leads nowhere");
  expect_refused("loop.so", PluginFault::unreadable);
}

TEST_F(BadFolder, HoldsAManifestThatIsNone) {
  folder.add("bad.sampler.json", std::string_view("{\"quiver_sampler\": 9}"));
  expect_refused("bad.sampler.json", PluginFault::bad_manifest);
}

TEST_F(BadFolder, HoldsAFileThatMayNotBeRead) {
  ::chmod(folder.add("bad.so", other_good()).c_str(), 0200);
  if (::geteuid() != 0)
    return expect_refused("bad.so", PluginFault::unreadable, "Permission denied");
  // Root may read everything, so a child looks as nobody.
  ASSERT_EQ(::chown((folder.path() / "bad.so").c_str(), 65534, 65534), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    RegistryOptions options = folder.options();
    options.cache_file.clear();
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
    const auto entries = PluginRegistry(options).candidates();
    const PluginEntry entry = entry_of(entries, "bad.so");
    const bool is_right = entry.state == PluginState::refused &&
                          entry.fault == PluginFault::unreadable &&
                          entry_of(entries, "good.so").state == PluginState::unseen;
    ::_exit(is_right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(BadFolder, MayBeTheFolderItself) {
  for (const mode_t mode : {0775U, 0777U, 01777U}) {
    ::chmod(folder.path().c_str(), mode);
    const PluginRegistry registry(folder.options());
    const PluginEntry entry = entry_of(registry.entries(), "good.so");
    EXPECT_EQ(entry.state, PluginState::refused);
    EXPECT_EQ(entry.fault, PluginFault::writable_folder);
    EXPECT_EQ(entry.descriptor.name, "subject-good");
    EXPECT_THROW(registry.load(entry), Error);
    EXPECT_FALSE(registry.find_offer(OfferKind::sampler, "subject-good"));
  }
}

TEST_F(BadFolder, HoldsPluginsOfOtherCompilers) {
  const auto clang = quiver::test::subject("subject-clang-libstdc++");
  const auto libcxx = quiver::test::subject("subject-clang-libc++");
  if (!std::filesystem::exists(clang)) GTEST_SKIP() << "there is no clang++, or a sanitizer is on";
  folder.add("same-library.so", quiver::test::read_bytes(clang));
  {
    const PluginRegistry registry(folder.options());
    EXPECT_EQ(entry_of(registry.entries(), "same-library.so").state, PluginState::ok);
    EXPECT_NE(create_sampler(registry, "subject-clang"), nullptr);
  }
  if (!std::filesystem::exists(libcxx)) GTEST_SKIP() << "there is no libc++";
  folder.add("other-library.so", quiver::test::read_bytes(libcxx));
  expect_refused("other-library.so", PluginFault::abi_stamp, "libc++");
}

}  // namespace
}  // namespace quiver
