// quiver allocate: recorded allocations, options, refusals.
#include "tests/cli/run_program.hpp"

#include "core/model/json_file.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quiver::test {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class Allocate : public testing::Test {
 protected:
  TemporaryFolder folder_;

  std::string table(const Json& layers, const Json& more = Json::object()) {
    Json json = more;
    json["layers"] = layers;
    return folder_.write("sensitivity.json", json.dump()).string();
  }

  /// Four layers of two blocks: 64 parameters each, so 36 bytes at 4 bits and 68 at 8.
  static Json small_layers() {
    Json layers = Json::array();
    const double kl[] = {0.4, 0.1, 0.3, 0.2};
    for (int i = 0; i < 4; ++i) {
      layers.push_back({{"name", "layers." + std::to_string(i / 2) + ".m" + std::to_string(i % 2)},
                        {"parameters", 64},
                        {"role", i % 2 == 0 ? "attention" : "mlp"},
                        {"kl", {{"4", kl[i]}, {"8", kl[i] / 100}}}});
    }
    return layers;
  }

  static ProgramResult run(const std::string& file, std::vector<std::string> options) {
    options.insert(options.begin(), {"allocate", file});
    return run_program(options);
  }

  static std::vector<int> bits(const ProgramResult& result) {
    EXPECT_EQ(result.status, 0) << result.err;
    std::vector<int> all;
    const Json json = result.json();
    for (const Json& layer : json.at("layers")) all.push_back(layer.at("bits"));
    return all;
  }
};

TEST_F(Allocate, every_recorded_allocation_is_reproduced) {
  for (const char* model : {"llama_a", "qwen35_a"}) {
    const Json expected =
        read_json_file(shared_path(std::string("reference/convert/") + model + "/expected.json"));
    Json layers = Json::array();
    for (const Json& layer : expected.at("sensitivity")) {
      layers.push_back({{"name", layer.at("layer")},
                        {"parameters", layer.at("params")},
                        {"kl", layer.at("kl")}});
    }
    const std::string file = table(layers);
    for (const Json& recorded : expected.at("allocations")) {
      std::string candidates = join_ids(recorded.at("candidate_bits"));
      const ProgramResult result =
          run(file, {"--compat", "optiq", "--candidate-bits", candidates, "--target-bpw",
                     recorded.at("target_bpw").dump(), "--floor-per-block",
                     recorded.at("n_floor_per_block").dump(), "--method",
                     recorded.at("method") == "static" ? "static" : "measured", "--json"});
      ASSERT_EQ(result.status, 0) << result.err;
      const Json json = result.json();
      EXPECT_EQ(json.at("bpw_linear"), recorded.at("achieved_bpw"));
      EXPECT_EQ(json.at("layers").size(), recorded.at("bits").size());
      for (const Json& layer : json.at("layers")) {
        EXPECT_EQ(layer.at("bits"), recorded.at("bits").at(layer.at("name").get<std::string>()))
            << model << " " << layer.at("name");
      }
    }
  }
}

TEST_F(Allocate, the_reference_packages_own_file_is_read_and_its_floor_explained) {
  const ProgramResult result =
      run(shared_path("reference/convert/llama_a/converted/optiq/sensitivity.json"),
          {"--compat", "optiq", "--target-bpw", "4.5", "--json"});
  const Json metadata =
      read_json_file(shared_path("reference/convert/llama_a/converted/optiq/metadata.json"));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json().at("bpw_linear"), metadata.at("achieved_bpw"));
  EXPECT_THAT(result.err, HasSubstr("5.06 bits per weight instead of 4.5"));
}

TEST_F(Allocate, the_default_is_the_best_within_the_true_size) {
  const std::string file = table(small_layers(), {{"fixed", {{"bytes", 32}, {"parameters", 16}}}});
  // All at 4 bits and the fixed part take 176 bytes; two steps of 32 fit into 240.
  const ProgramResult result = run(file, {"--target-bpw", "7.1", "--json"});
  EXPECT_EQ(bits(result), (std::vector<int>{8, 4, 8, 4}));
  const Json json = result.json();
  EXPECT_EQ(json.at("bytes"), 240);
  EXPECT_DOUBLE_EQ(json.at("bpw_true"), 240 * 8 / 272.0);
  EXPECT_DOUBLE_EQ(json.at("bpw_linear"), 6);
  EXPECT_DOUBLE_EQ(json.at("kl_predicted"), 0.004 + 0.1 + 0.003 + 0.2);
  EXPECT_EQ(json.at("is_optimal"), true);
  EXPECT_EQ(json.at("layers")[0].at("name"), "layers.0.m0");
  EXPECT_EQ(json.at("layers")[0].at("group_size"), 64);
  EXPECT_EQ(json.at("layers")[0].at("kl"), (Json{{"4", 0.4}, {"8", 0.004}}));
}

TEST_F(Allocate, rules_and_methods_change_the_choice) {
  const std::string file = table(small_layers());
  const std::vector<std::string> base = {"--target-bpw", "6.5", "--json"};
  const auto with = [&](std::vector<std::string> options) {
    options.insert(options.end(), base.begin(), base.end());
    return bits(run(file, options));
  };
  EXPECT_EQ(with({}), (std::vector<int>{8, 4, 8, 4}));
  EXPECT_EQ(with({"--pin", "*.m1=8"}), (std::vector<int>{4, 8, 4, 8}));
  EXPECT_EQ(with({"--protect", "layers.0.m1"}), (std::vector<int>{8, 8, 4, 4}));
  EXPECT_EQ(with({"--pin", "layers.0.*=4", "--floor-per-block", "1"}),
            (std::vector<int>{4, 4, 8, 8}));
  EXPECT_EQ(with({"--method", "static"}), (std::vector<int>{8, 4, 8, 4}));
  EXPECT_EQ(bits(run(file, {"--candidate-bits", "8,16", "--target-bpw", "12.6", "--json"})),
            (std::vector<int>{16, 8, 16, 8}));
}

TEST_F(Allocate, a_table_against_a_uniform_quantization_says_gains) {
  Json layers = small_layers();
  for (Json& layer : layers) {
    layer["kl"]["8"] = layer["kl"]["4"];
    layer["kl"]["4"] = 0;
  }
  const std::string file = table(layers, {{"reference", "uniform4"}});
  EXPECT_EQ(bits(run(file, {"--target-bpw", "6.5", "--json"})), (std::vector<int>{8, 4, 8, 4}));
}

TEST_F(Allocate, people_get_a_line_a_layer_and_the_sums) {
  const ProgramResult result = run(table(small_layers()), {"--target-bpw", "6.5"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, HasSubstr("layers.0.m0     8     64  4.000e-03\n"));
  EXPECT_THAT(result.out, HasSubstr(" 4 bits  2 layers\n 8 bits  2 layers\n"));
  EXPECT_THAT(result.out, HasSubstr("6.5000 true bits per weight (208 bytes), 6.0000 of codes"));
}

TEST_F(Allocate, wrong_usage_is_explained) {
  const std::string file = table(small_layers());
  const auto usage = [&](const std::vector<std::string>& options) {
    const ProgramResult result = run(file, options);
    EXPECT_EQ(result.status, 2) << result.err;
    return result.err;
  };
  EXPECT_THAT(usage({"--target-bpw", "4"}),
              HasSubstr("target below what the floor allows: at least 4.5 bpw"));
  EXPECT_THAT(usage({"--candidate-bits", "4,7"}), HasSubstr("'7' is not a width"));
  EXPECT_THAT(usage({"--candidate-bits", "4,"}), HasSubstr("'' is not a width"));
  EXPECT_THAT(usage({"--candidate-bits", "4,4"}), HasSubstr("4 bits stand there twice"));
  EXPECT_THAT(usage({"--pin", "layers.0.m0"}), HasSubstr("is not GLOB=BITS"));
  EXPECT_THAT(usage({"--pin", "layers.0.m0=7"}), HasSubstr("is not GLOB=BITS"));
  EXPECT_THAT(usage({"--pin", "nothing=8"}), HasSubstr("'nothing' matches no layer"));
  EXPECT_THAT(usage({"--pin", "layers.0.m0=6"}), HasSubstr("has no choice of 6 bits"));
  EXPECT_THAT(usage({"--compat", "optiq", "--pin", "layers.0.m0=8"}), HasSubstr("--compat"));
  EXPECT_THAT(usage({"--target-bpw", "nan"}), HasSubstr("--target-bpw"));
}

TEST_F(Allocate, what_is_wrong_with_the_table_is_named) {
  const auto refusal = [&](const std::string& file, std::vector<std::string> options = {}) {
    const ProgramResult result = run(file, std::move(options));
    EXPECT_EQ(result.status, 3) << result.err;
    return result.err;
  };
  const std::string file = table(small_layers());
  EXPECT_THAT(refusal(file, {"--candidate-bits", "3,4"}),
              HasSubstr("not measured at 3 bits (layers.0.m0)"));
  EXPECT_THAT(refusal(file, {"--group-size", "48"}), HasSubstr("groups of 48 do not divide"));
  EXPECT_THAT(refusal((folder_.path() / "none.json").string()), HasSubstr("no such file"));
  EXPECT_THAT(refusal(folder_.write("bad.json", "{\"layers\": [").string()),
              HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(folder_.write("empty.json", "{\"layers\": []}").string()),
              HasSubstr("no layer"));
}

}  // namespace
}  // namespace quiver::test
