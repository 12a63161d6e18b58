// The order of plugin folders, and what is never one.
#include "core/plugin/search_path.hpp"

#include "tests/plugin/plugin_fixture.hpp"

#include <quiver/error.hpp>

#include <gmock/gmock.h>

namespace quiver {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

std::vector<std::string> paths(const SearchPath& search_path) {
  std::vector<std::string> result;
  for (const SearchFolder& folder : search_path.folders) result.push_back(folder.path.string());
  return result;
}

TEST(SearchPath, GoesFromTheOptionToTheInstalledFolder) {
  SearchPathSettings settings;
  settings.option_folders = {"/none/one", "/none/two"};
  settings.environment = "/none/three:/none/four";
  settings.data_home = "/none/data";
  settings.program = "/none/prefix/bin/quiver";
  const SearchPath search_path = make_search_path(settings);
  EXPECT_THAT(paths(search_path),
              ElementsAre("/none/one", "/none/two", "/none/three", "/none/four",
                          "/none/data/quiver/plugins", "/none/prefix/lib/quiver/plugins"));
  EXPECT_EQ(search_path.folders.front().source, FolderSource::option);
  EXPECT_EQ(search_path.folders.back().source, FolderSource::installed);
  EXPECT_EQ(search_path.folders.back().trusted_root, "/none/prefix");
}

TEST(SearchPath, LeavesOutWhatDependsOnTheCurrentFolder) {
  SearchPathSettings settings;
  settings.environment = ":plugins:.:/none/a:../b:";
  const SearchPath search_path = make_search_path(settings);
  EXPECT_THAT(paths(search_path), ElementsAre("/none/a"));
  EXPECT_THAT(search_path.warnings, SizeIs(4));
  EXPECT_THAT(search_path.warnings[1], HasSubstr("'plugins'"));
}

TEST(SearchPath, NeverHoldsTheCurrentFolderByItself) {
  SearchPathSettings settings = process_search_settings({});
  settings.environment.clear();
  for (const SearchFolder& folder : make_search_path(settings).folders) {
    EXPECT_NE(folder.path, std::filesystem::current_path());
  }
}

TEST(SearchPath, TakesARelativeFolderOfTheOptionFromTheCurrentOne) {
  SearchPathSettings settings;
  settings.option_folders = {"here/plugins/"};
  EXPECT_THAT(paths(make_search_path(settings)),
              ElementsAre((std::filesystem::current_path() / "here/plugins").string()));
}

TEST(SearchPath, NamesEachFolderOnce) {
  const quiver::test::TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "real");
  std::filesystem::create_directory_symlink(folder.path() / "real", folder.path() / "link");
  SearchPathSettings settings;
  settings.option_folders = {folder.path() / "real", folder.path() / "link",
                             folder.path() / "real" / "." / ""};
  EXPECT_THAT(paths(make_search_path(settings)), SizeIs(1));
}

TEST(SearchPath, WarnsOfAFolderThatIsNotThere) {
  SearchPathSettings settings;
  settings.option_folders = {"/none/such"};
  EXPECT_THAT(make_search_path(settings).warnings, ElementsAre(HasSubstr("/none/such")));
}

TEST(SearchPath, RefusesAnEmptyOption) {
  SearchPathSettings settings;
  settings.option_folders = {""};
  EXPECT_THROW(make_search_path(settings), Error);
}

TEST(SearchPath, IsEmptyForAProgramWithoutAnything) {
  EXPECT_THAT(make_search_path({}).folders, SizeIs(0));
}

TEST(SearchPath, OfThisProcessKnowsTheProgram) {
  const SearchPathSettings settings = process_search_settings({});
  EXPECT_EQ(settings.program.filename(), "test_plugin");
  EXPECT_TRUE(settings.program.is_absolute());
}

TEST(UserFolder, IgnoresARelativeVariable) {
  ::setenv("QUIVER_TEST_FOLDER", "relative", 1);
  ::setenv("HOME", "/none/home", 1);
  EXPECT_EQ(user_folder("QUIVER_TEST_FOLDER", ".cache"), "/none/home/.cache");
  ::setenv("QUIVER_TEST_FOLDER", "/none/xdg", 1);
  EXPECT_EQ(user_folder("QUIVER_TEST_FOLDER", ".cache"), "/none/xdg");
}

}  // namespace
}  // namespace quiver
