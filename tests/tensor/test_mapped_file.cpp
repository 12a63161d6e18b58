// Tests of file mappings.
#include "core/tensor/mapped_file.hpp"

#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace {

using namespace quiver;
using quiver::test::expect_refused;
using quiver::test::TemporaryFolder;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, shows_the_bytes_of_the_file) {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("a", "some bytes"));
  EXPECT_EQ(text_of(file), "some bytes");
}

TEST(MappedFile, an_empty_file_has_no_bytes_and_ignores_advice) {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("a", ""));
  EXPECT_TRUE(file.bytes().empty());
  file.advise(0, 10, MappedFile::Access::soon);
  file.release(0, 10);
}

TEST(MappedFile, follows_links_and_keeps_its_address_when_moved) {
  const TemporaryFolder folder;
  folder.write("a", "first");
  std::filesystem::create_symlink("a", folder.path() / "link");
  MappedFile file(folder.path() / "link");
  const std::byte* address = file.bytes().data();
  MappedFile moved(std::move(file));
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_TRUE(file.bytes().empty());  // NOLINT(bugprone-use-after-move): moving empties it.
  MappedFile other(folder.write("b", "second"));
  other = std::move(moved);
  EXPECT_EQ(text_of(other), "first");
}

TEST(MappedFile, stays_readable_when_the_file_is_replaced) {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("a", "old"));
  folder.write("b", "new");
  std::filesystem::rename(folder.path() / "b", folder.path() / "a");
  EXPECT_EQ(text_of(file), "old");
}

TEST(MappedFile, refuses_what_is_no_regular_file_without_waiting) {
  const TemporaryFolder folder;
  expect_refused([&] { MappedFile{folder.path()}; }, "is a folder");
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  expect_refused([&] { MappedFile{folder.path() / "pipe"}; }, "is not a file");
  expect_refused([] { MappedFile{"/dev/zero"}; }, "is not a file");
}

TEST(MappedFile, names_the_path_and_the_reason) {
  const TemporaryFolder folder;
  const auto missing = folder.path() / "missing\nfile";
  expect_refused([&] { MappedFile{missing}; }, "No such file or directory");
  expect_refused([&] { MappedFile{missing}; }, "missing\\x0afile");
  folder.write("a", "x");
  expect_refused([&] { MappedFile{folder.path() / "a" / "b"}; }, "Not a directory");
}

/// Number of the range's pages that the process itself holds.
std::size_t resident_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::size_t pages = 0;
  std::FILE* pagemap = std::fopen("/proc/self/pagemap", "rb");
  for (std::size_t at = 0; pagemap != nullptr && at < bytes.size(); at += page) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes.data() + at);
    std::uint64_t entry = 0;
    std::fseek(pagemap, static_cast<long>(address / page * 8), SEEK_SET);
    if (std::fread(&entry, 8, 1, pagemap) == 1 && (entry >> 63) != 0) ++pages;
  }
  if (pagemap != nullptr) std::fclose(pagemap);
  return pages;
}

TEST(MappedFile, release_hands_back_whole_pages_only_and_loses_nothing) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const TemporaryFolder folder;
  std::vector<std::byte> content(8 * page + 100);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7 / 3);
  const MappedFile file(folder.write("a", content));
  file.advise(0, content.size(), MappedFile::Access::sequential);
  const auto is_intact = [&] {
    return std::equal(content.begin(), content.end(), file.bytes().begin());
  };
  ASSERT_TRUE(is_intact());
  ASSERT_EQ(resident_pages(file.bytes()), 9U) << "needs /proc/self/pagemap";
  file.release(1, 2 * page);  // Whole pages inside: only the second.
  EXPECT_EQ(resident_pages(file.bytes()), 8U);
  file.release(0, SIZE_MAX);  // Cut to the file, its last piece of a page included.
  EXPECT_EQ(resident_pages(file.bytes()), 0U);
  EXPECT_TRUE(is_intact());
  file.release(content.size() + 1, 5);
  file.advise(content.size() - 1, SIZE_MAX, MappedFile::Access::random);
  EXPECT_TRUE(is_intact());
}

}  // namespace
