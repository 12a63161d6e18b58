// quiver info: models with and without tensors, memory, and the machine.
#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

#include "core/model/json_file.hpp"
#include "tests/support/checkpoint_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <numeric>

namespace quiver::test {
namespace {

using testing::HasSubstr;

nlohmann::json info(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"info", "--json"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const ProgramResult result = run_program(words);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.json();
}

TEST(Info, counts_what_the_checkpoint_holds) {
  // 2 layers, hidden 64, heads 4 / 2 of 16, intermediate 164, vocabulary 295, biases everywhere.
  const std::uint64_t layer = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 164 * 64 +  // matrices
                              64 + 32 + 32 + 64 + 164 + 164 + 64 +              // biases
                              2 * 64;                                           // norms
  const std::uint64_t parameters = 2 * layer + 2 * 295 * 64 + 64;
  const auto json = info({shared_path("reference/llama/llama/checkpoint")});
  EXPECT_EQ(json.at("architecture"), "llama");
  EXPECT_EQ(json.at("plugin"), "arch-llama");
  EXPECT_EQ(json.at("parameters"), parameters);
  EXPECT_EQ(json.at("bytes"), 4 * parameters);
  EXPECT_DOUBLE_EQ(json.at("bpw").get<double>(), 32);
  EXPECT_EQ(json.at("layers").size(), 2U * 7U + 2U);
  const auto& first = json.at("layers").at(0);
  for (const char* key :
       {"name", "role", "block", "shape", "bits", "group_size", "bytes", "parameters"}) {
    EXPECT_TRUE(first.contains(key)) << key;
  }
}

TEST(Info, tells_each_layers_bits_and_the_true_bits_of_a_mixed_model) {
  const std::string folder = shared_path("reference/convert/llama_a/converted");
  const auto config = read_json_file(folder + "/config.json");
  const auto json = info({folder});
  std::uint64_t bytes = 0;
  for (const auto& layer : json.at("layers")) {
    bytes += layer.at("bytes").get<std::uint64_t>();
    const std::string name = layer.at("name");
    const auto& table = config.at("quantization");
    const auto& expected = table.contains(name) ? table.at(name) : table;
    EXPECT_EQ(layer.at("bits"), expected.at("bits")) << name;
    EXPECT_EQ(layer.at("group_size"), expected.at("group_size")) << name;
  }
  EXPECT_GE(json.at("bytes").get<std::uint64_t>(), bytes);
  EXPECT_DOUBLE_EQ(json.at("bpw").get<double>(),
                   8 * json.at("bytes").get<double>() / json.at("parameters").get<double>());
}

TEST(Info, a_bare_config_predicts_the_sizes_of_the_checkpoint) {
  for (const char* path :
       {"reference/convert/llama_a/converted", "reference/convert/llama_a/checkpoint",
        "reference/llama/qwen3/checkpoint", "reference/llama/qwen2/checkpoint"}) {
    const auto whole = info({shared_path(path)});
    const auto bare = info({shared_path(path) + "/config.json"});
    EXPECT_TRUE(whole.at("has_weights"));
    EXPECT_FALSE(bare.at("has_weights"));
    EXPECT_EQ(bare.at("parameters"), whole.at("parameters")) << path;
    EXPECT_EQ(bare.at("layers").size(), whole.at("layers").size()) << path;
    for (std::size_t i = 0; i < whole.at("layers").size(); ++i) {
      EXPECT_EQ(bare.at("layers").at(i), whole.at("layers").at(i)) << path;
    }
  }
}

TEST(Info, memory_grows_with_the_context_by_whole_pages) {
  const std::string folder = shared_path("reference/llama/llama/checkpoint");
  // float32 keys and values of 2 heads of 16 in 2 layers.
  const std::uint64_t token = std::uint64_t{4} * 2 * 2 * 16 * 2;
  const auto small = info({folder, "--context", "64"});
  EXPECT_EQ(small.at("kv").at("bytes_per_token"), token);
  EXPECT_EQ(small.at("memory").at("kv_bytes"), 64 * token);
  EXPECT_EQ(info({folder, "--context", "65"}).at("memory").at("kv_bytes"), 128 * token);
  EXPECT_EQ(info({folder}).at("memory").at("context"), 512);
  EXPECT_EQ(info({folder, "--kv", "f16"}).at("kv").at("bytes_per_token"), token / 2);
}

TEST(Info, memory_is_counted_layer_by_layer) {
  const quiver::test::TemporaryFolder folder;
  const std::string file = (folder.path() / "kv_config.json").string();
  folder.write("kv_config.json", R"([{"layer_idx": 1, "scheme": "f16"}])");
  const std::string model = shared_path("reference/llama/llama/checkpoint");
  const std::uint64_t layer = std::uint64_t{4} * 2 * 2 * 16;
  const auto json = info({model, "--context", "64", "--kv-config", file});
  EXPECT_EQ(json.at("kv").at("bytes_per_token"), layer + layer / 2);
  EXPECT_EQ(json.at("memory").at("kv_bytes"), 64 * (layer + layer / 2));
  EXPECT_EQ(json.at("kv").at("layers").at(0).at("strategy"), "f32");
  EXPECT_EQ(json.at("kv").at("layers").at(1).at("strategy"), "f16");
  EXPECT_EQ(json.at("kv").at("layers").at(1).at("bytes_per_token"), layer / 2);
  const auto packed = info({model, "--context", "640", "--kv", "affine:bits=4"});
  const auto recent =
      info({model, "--context", "640", "--kv", "affine:bits=4", "--kv-recent", "100"});
  const auto bytes = [](const auto& report) {
    return report.at("memory").at("kv_bytes").template get<std::uint64_t>();
  };
  const std::uint64_t token = packed.at("kv").at("bytes_per_token").get<std::uint64_t>();
  EXPECT_EQ(bytes(packed), 640 * token);
  EXPECT_EQ(bytes(recent), 512 * token + 128 * layer) << "two layers of float16";
}

TEST(Info, of_a_hybrid_model_knows_states_and_the_blocks_that_keep_keys) {
  // 18 layers with states of 16 heads of 128 x 128 and windows of 3 rows of 6144 channels, 6 with
  // keys and values of 2 heads of 256.
  const std::string config = shared_path("models/shapes/qwen3_5-0.8b.json");
  const auto json = info({config, "--context", "1024", "--target-bpw", "4.5", "--kv", "f32"});
  EXPECT_EQ(json.at("quantizable_linears"), 186);
  const std::uint64_t token = std::uint64_t{6} * 2 * 2 * 256 * 4;
  const std::uint64_t states = std::uint64_t{18} * 4 * (16 * 128 * 128 + 3 * 6144);
  const auto& memory = json.at("memory");
  EXPECT_EQ(json.at("kv").at("bytes_per_token"), token);
  EXPECT_EQ(memory.at("kv_bytes"), 1024 * token);
  EXPECT_EQ(memory.at("state_bytes"), states);
  EXPECT_EQ(memory.at("draft_bytes"), 0);
  EXPECT_EQ(memory.at("total_bytes"),
            json.at("bytes").get<std::uint64_t>() + states + 1024 * token);
  std::vector<int> blocks;
  for (const auto& layer : json.at("kv").at("layers")) blocks.push_back(layer.at("layer_idx"));
  EXPECT_THAT(blocks, testing::ElementsAre(3, 7, 11, 15, 19, 23));
  std::uint64_t matrices = 0;
  for (const auto& layer : json.at("layers"))
    matrices += layer.at("parameters").get<std::uint64_t>();
  EXPECT_EQ(matrices, 751894528U);
  const double others = json.at("bytes").get<double>() - 2.0 * static_cast<double>(matrices);
  EXPECT_NEAR(json.at("target").at("bytes").get<double>(),
              4.5 / 8 * static_cast<double>(matrices) + others, 1);
}

TEST(Info, counts_a_draft_head_apart_from_what_is_quantized) {
  const auto json = info({shared_path("models/qwen3_5-tiny-real"), "--context", "64"});
  // 6 layers of 8 linears, 2 of 7; the head has 8 more.
  EXPECT_EQ(json.at("quantizable_linears"), 62);
  const auto heads = std::ranges::count_if(
      json.at("layers"), [](const auto& layer) { return layer.at("role") == "draft_head"; });
  EXPECT_EQ(heads, 8);
  EXPECT_EQ(json.at("kv").at("layers").size(), 2U);
  // A page of keys and values of 2 heads of 64, and the hidden state in front of the next token.
  EXPECT_EQ(json.at("memory").at("draft_bytes"), 4 * (64 * 2 * 2 * 64 + 192));
}

TEST(Info, a_target_predicts_the_bytes_of_all_matrices_at_that_width) {
  const auto json = info({shared_path("reference/llama/llama/checkpoint"), "--target-bpw", "5"});
  std::uint64_t matrices = 0;
  for (const auto& layer : json.at("layers"))
    matrices += layer.at("parameters").get<std::uint64_t>();
  const std::uint64_t others = json.at("bytes").get<std::uint64_t>() - 4 * matrices;
  EXPECT_EQ(json.at("target").at("bytes"), matrices * 5 / 8 + others);
}

TEST(Info, the_published_counts_of_a_mixed_model_follow_from_its_config) {
  // 224 linears, 148 of them at 4 bits and 76 at 8, "4.86 bits", 181 MB.
  const auto json = info(
      {shared_path("models/shapes/dhara-250m.json"), "--target-bpw", "4.86", "--compat", "optiq"});
  const auto& target = json.at("target");
  EXPECT_EQ(target.at("linears"), 224);
  EXPECT_EQ(target.at("linear_parameters"), 210763776);
  EXPECT_EQ(target.at("embedding_parameters"), 37751040);
  EXPECT_NEAR(target.at("wide_parameters").get<double>(), 210763776 * 0.215, 1);
  EXPECT_NEAR(target.at("bytes").get<double>(), 181e6, 3e6);
  EXPECT_LE(target.at("wide_linears").at(0), 76);
  EXPECT_GE(target.at("wide_linears").at(1), 76);
  std::map<std::uint64_t, int> sizes;
  for (const auto& layer : json.at("layers")) {
    if (layer.at("role") != "embedding") ++sizes[layer.at("parameters").get<std::uint64_t>()];
  }
  EXPECT_EQ(sizes, (std::map<std::uint64_t, int>{{196608, 64}, {589824, 64}, {1671168, 96}}));
  int choices = 0;
  for (int small = 0; small <= 64; ++small) {
    for (int middle = 0; middle <= 64; ++middle) {
      const int large = 76 - small - middle;
      if (large < 0 || large > 96) continue;
      const double wide = 196608.0 * small + 589824.0 * middle + 1671168.0 * large;
      if (std::abs(4 + 4 * wide / 210763776 - 4.86) < 0.005) ++choices;
    }
  }
  EXPECT_GT(choices, 1) << "76 linears at 8 bits have that mean, in more than one way";
  // The fewest are the largest ones, and one less does not reach the target.
  const int fewest = target.at("wide_linears").at(0);
  EXPECT_GE(1671168.0 * fewest, target.at("wide_parameters").get<double>());
  EXPECT_LT(1671168.0 * (fewest - 1), target.at("wide_parameters").get<double>());
}

TEST(Info, a_target_of_that_accounting_lies_between_the_widths) {
  const std::string config = shared_path("models/shapes/dhara-250m.json");
  const auto all = info({config, "--target-bpw", "8", "--compat", "optiq"}).at("target");
  EXPECT_EQ(all.at("wide_linears"), nlohmann::json({224, 224}));
  EXPECT_EQ(all.at("wide_parameters"), all.at("linear_parameters"));
  const auto none = info({config, "--target-bpw", "4", "--compat", "optiq"}).at("target");
  EXPECT_EQ(none.at("wide_linears"), nlohmann::json({0, 0}));
  EXPECT_EQ(run_program({"info", config, "--target-bpw", "9", "--compat", "optiq"}).status, 2);
  EXPECT_EQ(run_program({"info", config, "--compat", "optiq"}).status, 2);
}

TEST(Info, the_machine_needs_no_model) {
  const auto cpu = info({"--cpu"}).at("cpu");
  EXPECT_GE(cpu.at("cpus").get<int>(), 1);
  EXPECT_THAT(cpu.at("available_kernels"), testing::Contains("generic"));
  EXPECT_GT(cpu.at("limits").at("read_bytes_per_s"), 1e8);
  EXPECT_GT(cpu.at("limits").at("operations_per_s").at("fma"), 1e8);
  const ProgramResult forced =
      run_program({"info", "--cpu", "--json"}, {.environment = {{"QUIVER_ISA", "generic"}}});
  EXPECT_EQ(forced.json().at("cpu").at("kernels"), "generic");
  EXPECT_THAT(forced.json().at("cpu").at("choice").get<std::string>(), HasSubstr("QUIVER_ISA"));
  EXPECT_EQ(run_program({"info", "--cpu"}, {.environment = {{"QUIVER_ISA", "z80"}}}).status, 2);
}

TEST(Info, for_people_is_a_table) {
  const ProgramResult result =
      run_program({"info", shared_path("reference/llama/llama/checkpoint")});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, HasSubstr("parameters    "));
  EXPECT_THAT(result.out, HasSubstr("model.layers.1.mlp.down_proj"));
}

TEST(Info, finds_models_of_the_hub_cache) {
  const TemporaryFolder hub;
  const auto repository = hub.path() / "hub" / "models--owner--name";
  std::filesystem::create_directories(repository / "refs");
  std::filesystem::create_directories(repository / "snapshots" / "0123abc");
  std::ofstream(repository / "refs" / "main") << "0123abc\n";
  std::filesystem::copy(shared_path("reference/llama/llama/checkpoint/config.json"),
                        repository / "snapshots" / "0123abc" / "config.json");
  const ProgramInput by_home{.environment = {{"HF_HOME", hub.path().string()}}};
  EXPECT_EQ(run_program({"info", "owner/name"}, by_home).status, 0);
  const ProgramInput by_cache{.environment = {{"HF_HUB_CACHE", (hub.path() / "hub").string()}}};
  EXPECT_EQ(run_program({"info", "owner/name"}, by_cache).status, 0);
  const ProgramResult missing = run_program({"info", "owner/other"}, by_cache);
  EXPECT_EQ(missing.status, 3);
  EXPECT_THAT(missing.err, HasSubstr("owner/other"));
  std::ofstream(repository / "refs" / "main") << "../../../elsewhere";
  EXPECT_EQ(run_program({"info", "owner/name"}, by_cache).status, 3);
}

}  // namespace
}  // namespace quiver::test
