// Files that are opened once, and libraries that stay.
#include "core/plugin/plugin_file.hpp"

#include "core/plugin/plugin_library.hpp"
#include "core/plugin/sha256.hpp"
#include "tests/plugin/plugin_fixture.hpp"

#include <quiver/sampler.hpp>

#include <gmock/gmock.h>

#include <sys/stat.h>

namespace quiver {
namespace {

using quiver::test::PluginFolder;
using testing::HasSubstr;

TEST(PluginFile, HashesWhatWasOpenedNotWhatTookItsName) {
  const PluginFolder folder;
  const auto path = folder.add("x.so", std::string_view("first"));
  const PluginFile file = PluginFile::open(path);
  folder.add("x.so", std::string_view("second"));
  EXPECT_EQ(file.sha256(), sha256_hex("first"));
  EXPECT_EQ(file.read(100), "first");
  EXPECT_NE(PluginFile::open(path).identity(), file.identity());
}

TEST(PluginFile, LoadsWhatWasOpenedNotWhatTookItsName) {
  const PluginFolder folder;
  const auto path = folder.add("x.so", quiver::test::renamed("first", "a"));
  const PluginFile file = PluginFile::open(path);
  folder.add("x.so", std::string_view("no library at all"));
  EXPECT_EQ(load_elf_plugin(file)->name(), "first");
}

TEST(PluginFile, LoadsLibrariesOfOneDescriptorNumberApart) {
  const PluginFolder folder;
  // The loader knows libraries by path; the path holds a descriptor's number, and numbers come
  // back.
  for (const char* name : {"first", "second", "third"}) {
    const auto path = folder.add(std::string(name) + ".so", quiver::test::renamed(name, name));
    EXPECT_EQ(load_elf_plugin(PluginFile::open(path))->name(), name);
  }
}

TEST(PluginFile, RefusesToMixALibraryWithItsRewrittenFile) {
  const PluginFolder folder;
  const auto path = folder.add("x.so", quiver::test::renamed("first", "a"));
  load_elf_plugin(PluginFile::open(path));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + 1);
  EXPECT_THROW(PluginFile::open(path).load(), Error);
}

TEST(PluginFile, RefusesWhatIsNoFile) {
  const PluginFolder folder;
  EXPECT_THROW(PluginFile::open(folder.path()), Error);
  EXPECT_THROW(PluginFile::open(folder.path() / "none"), Error);
  const auto fifo = folder.path() / "fifo.so";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0644), 0);
  EXPECT_THROW(PluginFile::open(fifo), Error);
}

TEST(PluginFile, KeepsTheLoadersWords) {
  const PluginFolder folder;
  const auto path = folder.add_subject("subject-undefined-symbol");
  try {
    PluginFile::open(path).load();
    FAIL() << "was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::plugin);
    EXPECT_THAT(error.message(), HasSubstr("subject-undefined-symbol.so: undefined symbol: "
                                           "symbol_that_nobody_defines"));
  }
}

TEST(PluginFile, ReadsNoMoreThanAllowed) {
  const PluginFolder folder;
  const auto path = folder.add("x.so", std::string_view("12345"));
  EXPECT_THROW(PluginFile::open(path).read(4), Error);
}

TEST(PluginLibrary, OutlivesItsNameAndKeepsWhatItMade) {
  std::shared_ptr<const Sampler> sampler;
  {
    const PluginFolder folder;
    const auto path = folder.add_subject("subject-good");
    const auto plugin = load_elf_plugin(PluginFile::open(path));
    const auto* const factory = plugin->get<SamplerFactory>();
    ASSERT_NE(factory, nullptr);
    struct Defaults final : Options {
      double number(std::string_view) const override { return 2; }
      std::string_view text(std::string_view) const override { return "none"; }
    };
    sampler = plugin->hold(factory->create("subject-good", Defaults()));
  }
  float logit = 3;
  std::int32_t id = 0;
  Candidates candidates{&logit, &id, 1, true, true};
  struct Context final : SamplerContext {
    std::span<const std::int32_t> history() const override { return {}; }
    std::size_t prompt_length() const override { return 0; }
    double uniform(std::uint32_t) const override { return 0; }
    const Vocabulary* vocabulary() const override { return nullptr; }
  };
  sampler->apply(candidates, Context(), {});
  EXPECT_EQ(logit, 6);
}

TEST(CallPlugin, TurnsWhatAPluginThrowsIntoErrorsOfTheHost) {
  const auto code_of = [](auto&& function) {
    try {
      call_plugin("x", "tested", function);
    } catch (const Error& error) {
      return std::pair(error.code(), std::string(error.what()));
    }
    return std::pair(ErrorCode::internal, std::string());
  };
  EXPECT_EQ(code_of([] { throw Error(ErrorCode::usage, "a\nb", "c", "d"); }),
            std::pair(ErrorCode::usage, std::string("a b (c): d")));
  EXPECT_EQ(code_of([] { throw std::bad_alloc(); }).first, ErrorCode::resources);
  const auto [code, text] = code_of([] { throw std::runtime_error("broke\x1b[2J"); });
  EXPECT_EQ(code, ErrorCode::plugin);
  EXPECT_EQ(text, "plugin 'x' failed when tested: broke [2J: report it to the plugin's author");
  EXPECT_EQ(code_of([] { throw 42; }).first, ErrorCode::plugin);
  EXPECT_EQ(call_plugin("x", "tested", [] { return 7; }), 7);
}

}  // namespace
}  // namespace quiver
