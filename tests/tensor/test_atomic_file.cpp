// Tests of files that appear whole or not at all.
#include "core/tensor/atomic_file.hpp"

#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

namespace {

using namespace quiver;
using quiver::test::expect_refused;
using quiver::test::read_text;
using quiver::test::TemporaryFolder;
using testing::ElementsAre;
using testing::IsEmpty;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(AtomicFile, appears_only_with_commit_and_replaces_what_was_there) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", "old");
  AtomicFile file(path);
  file.write(bytes_of("new "));
  file.write(bytes_of("content"));
  EXPECT_EQ(read_text(path), "old");
  file.commit();
  EXPECT_EQ(read_text(path), "new content");
  EXPECT_EQ(file.written(), 11U);
  EXPECT_THAT(folder.list(), ElementsAre("a"));
}

TEST(AtomicFile, leaves_nothing_behind_without_commit) {
  const TemporaryFolder folder;
  { AtomicFile(folder.path() / "a").write(bytes_of("text")); }
  {
    AtomicFile first(folder.path() / "a");
    const AtomicFile moved(std::move(first));
    EXPECT_EQ(folder.list().size(), 1U);
  }
  EXPECT_THAT(folder.list(), IsEmpty());
}

TEST(AtomicFile, pieces_of_every_size_keep_their_order) {
  const TemporaryFolder folder;
  std::string expected;
  AtomicFile file(folder.path() / "a");
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{300000}, std::size_t{7}, std::size_t{262144}, std::size_t{0},
        std::size_t{262143}, std::size_t{2}}) {
    const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
    file.write(bytes_of(piece));
    expected += piece;
  }
  file.commit();
  EXPECT_EQ(read_text(folder.path() / "a"), expected);
}

TEST(AtomicFile, two_writers_of_one_path_do_not_mix) {
  const TemporaryFolder folder;
  AtomicFile first(folder.path() / "a");
  AtomicFile second(folder.path() / "a");
  first.write(bytes_of("first"));
  second.write(bytes_of("second"));
  second.commit();
  first.commit();
  EXPECT_EQ(read_text(folder.path() / "a"), "first");
}

TEST(AtomicFile, permissions_are_those_asked_for_under_the_umask) {
  const TemporaryFolder folder;
  const ::mode_t old = ::umask(0027);
  write_file(folder.path() / "a", bytes_of("x"));
  ::umask(old);
  struct stat status = {};
  ASSERT_EQ(::stat((folder.path() / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0640U);
  write_file(folder.path() / "a", bytes_of("x"), 0600);
  ASSERT_EQ(::stat((folder.path() / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST(AtomicFile, names_the_path_and_the_reason) {
  const TemporaryFolder folder;
  expect_refused([&] { AtomicFile(folder.path() / "no" / "a"); }, "No such file or directory");
  expect_refused([&] { AtomicFile(folder.path() / ""); }, "is not the name of a file");
  std::filesystem::create_directory(folder.path() / "folder");
  expect_refused([&] { write_file(folder.path() / "folder", bytes_of("x")); }, "Is a directory");
  EXPECT_THAT(folder.list(), ElementsAre("folder"));
}

}  // namespace
