// The projects that `plugins new` writes. That they build and pass is shown by test_out_of_tree.sh.
#include "core/plugin/new_project.hpp"

#include "core/plugin/c_sampler_manifest.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace {

using namespace quiver;
using quiver::test::TemporaryFolder;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    names.push_back(item.path().filename().string());
  }
  return names;
}

TEST(NewProject, writes_every_kind_without_leftover_fields) {
  const TemporaryFolder folder;
  for (const OfferKind kind : kOfferKinds) {
    const auto project = folder.path() / "deeper" / std::string(kind_name(kind));
    const auto files = write_new_project(project, {.kind = kind, .name = "my-thing.2"});
    EXPECT_EQ(files.size(), names_in(project).size());
    for (const auto& file : files) {
      const std::string text = quiver::test::read_text(file);
      EXPECT_FALSE(text.empty()) << file;
      EXPECT_THAT(text, Not(testing::ContainsRegex("@[A-Z]"))) << file;
    }
    EXPECT_THAT(quiver::test::read_text(project / "CMakeLists.txt"),
                HasSubstr("quiver_add_plugin(my-thing.2 SOURCES my-thing.2.cpp)"));
    EXPECT_THAT(quiver::test::read_text(project / "my-thing.2.cpp"), HasSubstr("\"my-thing.2\""));
  }
}

TEST(NewProject, gives_architectures_a_model_type_and_a_config) {
  const TemporaryFolder folder;
  const auto project = folder.path() / "a";
  write_new_project(project, {.kind = OfferKind::architecture, .name = "my-family"});
  EXPECT_THAT(names_in(project),
              UnorderedElementsAre("CMakeLists.txt", "README.md", "my-family.cpp", "config.json"));
  EXPECT_THAT(quiver::test::read_text(project / "config.json"), HasSubstr("\"my_family\""));
  EXPECT_THAT(quiver::test::read_text(project / "my-family.cpp"), HasSubstr("\"my_family\""));
}

TEST(NewProject, writes_a_valid_manifest_for_samplers_in_c) {
  const TemporaryFolder folder;
  const auto project = folder.path() / "c";
  write_new_project(project,
                    {.kind = OfferKind::sampler, .name = "mine", .language = ProjectLanguage::c});
  EXPECT_THAT(names_in(project),
              UnorderedElementsAre("CMakeLists.txt", "README.md", "mine.c", "mine.sampler.json"));
  const auto manifest =
      parse_manifest(quiver::test::read_text(project / "mine.sampler.json"), "mine.sampler.json");
  EXPECT_EQ(manifest.name, "mine");
  EXPECT_EQ(manifest.library, "mine.so");
}

TEST(NewProject, refuses_names_that_cannot_be_typed_or_built) {
  const TemporaryFolder folder;
  for (const char* name : {"", "Upper", "1st", "-x", "a b", "../x", "a/b", "@NAME@", "all", "test",
                           "a-name-of-more-than-31-characters"}) {
    quiver::test::expect_refused(
        [&] { write_new_project(folder.path() / "p", {.kind = OfferKind::sampler, .name = name}); },
        "--name", ErrorCode::usage);
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "p"));
}

TEST(NewProject, refuses_c_for_anything_but_samplers) {
  const TemporaryFolder folder;
  quiver::test::expect_refused(
      [&] {
        write_new_project(
            folder.path() / "p",
            {.kind = OfferKind::kv_strategy, .name = "mine", .language = ProjectLanguage::c});
      },
      "only samplers", ErrorCode::usage);
}

TEST(NewProject, never_writes_into_a_folder_that_holds_something) {
  const TemporaryFolder folder;
  folder.write("precious.txt", "mine");
  const NewProject project{.kind = OfferKind::sampler, .name = "x"};
  quiver::test::expect_refused([&] { write_new_project(folder.path(), project); }, "not empty",
                               ErrorCode::usage);
  quiver::test::expect_refused([&] { write_new_project(folder.path() / "precious.txt", project); },
                               "not a folder", ErrorCode::usage);
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("precious.txt"));
}

}  // namespace
