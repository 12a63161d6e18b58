// quiver plugins, as the program runs it; the registry itself has its own tests.
#include "tests/cli/run_program.hpp"

#include "tests/support/checkpoint_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kPlugins = std::string(QUIVER_BUILD_DIR) + "/lib/quiver/plugins";

/// A folder of plugins and a home of its own.
class Plugins : public testing::Test {
 protected:
  TemporaryFolder folder_;
  ProgramInput input_{.environment = {{"XDG_CONFIG_HOME", (folder_.path() / "config").string()},
                                      {"XDG_CACHE_HOME", (folder_.path() / "cache").string()}}};

  ProgramResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "plugins");
    return run_program(arguments, input_);
  }

  nlohmann::json json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.json();
  }

  nlohmann::json find(const nlohmann::json& list, const std::string& name) const {
    for (const auto& plugin : list.at("plugins")) {
      if (plugin.at("name") == name) return plugin;
    }
    ADD_FAILURE() << name << " is not listed";
    return {};
  }
};

TEST_F(Plugins, those_of_the_build_are_listed_and_good) {
  const auto list = json({"list"});
  for (const char* name :
       {"kv-affine", "kv-float", "kv-turboquant", "quant-affine", "sampler-standard"}) {
    const auto plugin = find(list, name);
    EXPECT_EQ(plugin.at("state"), "ok") << plugin;
    for (const char* key : {"name", "version", "kind", "path", "state", "reason", "offers"}) {
      EXPECT_TRUE(plugin.contains(key)) << key;
    }
    const auto& offer = plugin.at("offers").at(0);
    for (const char* key : {"kind", "name", "summary", "model_types"}) {
      EXPECT_TRUE(offer.contains(key)) << key;
    }
  }
}

TEST_F(Plugins, a_kind_narrows_the_list) {
  const auto list = json({"list", "--kind", "kv"});
  EXPECT_FALSE(list.at("plugins").empty());
  for (const auto& plugin : list.at("plugins")) {
    EXPECT_EQ(plugin.at("kind"), "kv");
  }
}

TEST_F(Plugins, a_bad_file_is_listed_with_its_reason_and_harms_nobody) {
  const auto bad = folder_.path() / "plugins";
  std::filesystem::create_directory(bad);
  std::ofstream(bad / "noise.so") << "this is no library";
  const auto list = json({"list", "--plugin-path", bad.string()});
  const auto noise = find(list, "noise");
  EXPECT_EQ(noise.at("state"), "refused");
  EXPECT_FALSE(noise.at("reason").get<std::string>().empty());
  EXPECT_EQ(find(list, "kv-float").at("state"), "ok");
}

TEST_F(Plugins, inspect_tells_the_options_with_ranges) {
  const auto plugin = json({"inspect", "sampler-standard"});
  EXPECT_EQ(plugin.at("name"), "sampler-standard");
  const auto option = std::ranges::find_if(plugin.at("options"), [](const auto& one) {
    return one.at("offer") == "top-p" && one.at("name") == "p";
  });
  ASSERT_NE(option, plugin.at("options").end());
  EXPECT_EQ(option->at("minimum"), 0);
  EXPECT_EQ(option->at("maximum"), 1);
  const ProgramResult unknown = run({"inspect", "nonesuch"});
  EXPECT_EQ(unknown.status, 4);
  EXPECT_THAT(unknown.err, HasSubstr("nonesuch"));
}

TEST_F(Plugins, check_runs_the_named_checks) {
  const auto report = json({"check", kPlugins + "/kv-float.so", "--only", "descriptor*"});
  EXPECT_GE(report.at("passed").get<int>(), 1);
  EXPECT_EQ(report.at("failed"), 0);
  EXPECT_TRUE(report.at("checks").at(0).contains("detail"));
}

TEST_F(Plugins, check_of_what_is_no_plugin_fails) {
  const std::string file = (folder_.path() / "noise.so").string();
  std::ofstream(file) << "this is no library";
  EXPECT_EQ(run({"check", file}).status, 4);
}

TEST_F(Plugins, new_writes_a_project_once) {
  const std::string project = (folder_.path() / "my-sampler").string();
  const auto written = json({"new", project, "--kind", "sampler"});
  EXPECT_EQ(written.at("name"), "my-sampler");
  for (const auto& file : written.at("files")) {
    EXPECT_TRUE(std::filesystem::exists(file.get<std::string>())) << file;
  }
  EXPECT_EQ(run({"new", project, "--kind", "sampler"}).status, 2);
  EXPECT_EQ(run({"new", project + "2", "--kind", "kv", "--language", "c"}).status, 2);
}

TEST_F(Plugins, a_lock_file_keeps_everything_else_out) {
  EXPECT_EQ(run({"verify"}).status, 2);  // there is nothing to verify yet
  const auto locked = json({"lock"});
  EXPECT_TRUE(std::filesystem::exists(locked.at("lock_file").get<std::string>()));
  EXPECT_EQ(json({"verify"}).at("failed"), 0);
  // The same library elsewhere was not locked.
  const auto other = folder_.path() / "plugins";
  std::filesystem::create_directory(other);
  std::filesystem::copy_file(kPlugins + "/kv-float.so", other / "kv-float.so");
  std::ofstream(other / "kv-float.so", std::ios::app) << "changed";
  const auto list = json({"list", "--plugin-path", other.string()});
  const auto first = std::ranges::find_if(list.at("plugins"), [&](const auto& plugin) {
    return plugin.at("path") == (other / "kv-float.so").string();
  });
  ASSERT_NE(first, list.at("plugins").end());
  EXPECT_EQ(first->at("state"), "refused");
}

TEST_F(Plugins, a_run_without_the_plugin_it_needs_says_which) {
  const auto empty = folder_.path() / "bin";
  std::filesystem::create_directories(empty);
  std::filesystem::copy_file(QUIVER_PROGRAM, empty / "quiver");
  const ProgramResult result =
      run_program({"logits", shared_path("reference/llama/llama/checkpoint"), "--ids", "1"},
                  {.environment = input_.environment, .program = (empty / "quiver").string()});
  EXPECT_EQ(result.status, 4);
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

}  // namespace
}  // namespace quiver::test
