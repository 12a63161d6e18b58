// quiver kv-cache: what it writes, that generate takes it, what it refuses.
#include "core/model/json_file.hpp"
#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kCase = shared_path("reference/convert/llama_a/");

class KvCache : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string out_ = (folder_.path() / "kv").string();

  ProgramResult kv_cache(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"kv-cache",
                                          kCase + "checkpoint",
                                          "-o",
                                          out_,
                                          "--samples",
                                          "2",
                                          "--sequence-length",
                                          "48",
                                          "--calibration",
                                          kCase + "calibration.jsonl",
                                          "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }

  nlohmann::json written(const char* file) const {
    return read_json_file(folder_.path() / "kv" / file);
  }
};

TEST_F(KvCache, document_and_files_agree_and_keep_the_target) {
  const ProgramResult result = kv_cache({"--target-bits", "6"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto json = result.json();
  const auto config = written("kv_config.json");
  const auto table = written("kv_sensitivity.json");
  ASSERT_EQ(json.at("layers").size(), 3U);
  ASSERT_EQ(config.size(), 3U);
  double bits = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& layer = json.at("layers")[i];
    EXPECT_EQ(layer.at("layer_idx"), i);
    EXPECT_EQ(config[i],
              (nlohmann::json{{"layer_idx", i}, {"bits", layer.at("bits")}, {"group_size", 64}}));
    EXPECT_EQ(layer.at("group_size"), 64);
    EXPECT_EQ(layer.at("kl"), table[i].at("sensitivities"));
    EXPECT_GT(layer.at("kl").at("4").get<double>(), layer.at("kl").at("8").get<double>());
    bits += layer.at("bits").get<double>() + 0.5;
  }
  // One of three layers can have 8 bits; the first is by far the most sensitive.
  EXPECT_EQ(config[0].at("bits"), 8);
  EXPECT_DOUBLE_EQ(json.at("true_bits").get<double>(), bits / 3);
  EXPECT_LE(bits / 3, 6);
  EXPECT_EQ(json.at("bytes_per_token").get<double>() * 8, bits * 2 * 2 * 64);
  EXPECT_GT(json.at("kl_measured").get<double>(), 0);
  EXPECT_EQ(folder_.list().size(), 1U) << "something was left beside the folder";
}

TEST_F(KvCache, generate_and_kl_take_the_result) {
  const ProgramResult made = kv_cache({"--target-bits", "6"});
  ASSERT_EQ(made.status, 0) << made.err;
  const std::string config = out_ + "/kv_config.json";
  const ProgramResult result =
      run_program({"generate", kCase + "checkpoint", "--prompt", "Hello", "--max-tokens", "8",
                   "--ignore-eos", "--kv-config", config, "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json().at("ids").size(), 8U);
  const auto text = folder_.write("text.txt", "A text that a model reads, and another sentence.");
  const ProgramResult compared =
      run_program({"kl", kCase + "checkpoint", "exact", text.string(), "--compute", "exact",
                   "--kv-config", config, "--json"});
  ASSERT_EQ(compared.status, 0) << compared.err;
  const double kl = compared.json().at("kl_mean");
  const double measured = made.json().at("kl_measured");
  EXPECT_GT(kl, measured / 5);
  EXPECT_LT(kl, measured * 5);
}

TEST_F(KvCache, keys_and_values_can_have_widths_of_their_own) {
  // There is room for one of six halves of a layer in 8 bits.
  const ProgramResult result = kv_cache({"--separate-kv", "--target-bits", "5.2"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto json = result.json();
  const auto& first = json.at("layers")[0];
  EXPECT_GT(first.at("kl_keys").at("4"), first.at("kl_values").at("4"));
  EXPECT_EQ(first.at("bits"), 8);
  EXPECT_EQ(first.at("k_bits"), 8);
  EXPECT_EQ(first.at("v_bits"), 4);
  EXPECT_FALSE(json.at("layers")[1].contains("k_bits"));
  EXPECT_EQ(written("kv_config.json")[0].at("v_bits"), 4);
  const ProgramResult generated =
      run_program({"generate", kCase + "checkpoint", "--prompt", "Hello", "--max-tokens", "4",
                   "--kv-config", out_ + "/kv_config.json", "--json"});
  EXPECT_EQ(generated.status, 0) << generated.err;
}

TEST_F(KvCache, the_package_counts_neither_scales_nor_sizes) {
  const ProgramResult result = kv_cache({"--compat", "optiq", "--target-bits", "4.5"});
  ASSERT_EQ(result.status, 0) << result.err;
  std::vector<int> bits;
  const auto json = result.json();
  for (const auto& layer : json.at("layers")) bits.push_back(layer.at("bits"));
  EXPECT_EQ(bits, (std::vector<int>{8, 4, 4}));
  EXPECT_DOUBLE_EQ(json.at("mean_bits").get<double>(), 16.0 / 3);
}

TEST_F(KvCache, a_target_between_codes_and_scales_is_answered_with_a_warning) {
  const ProgramResult result = kv_cache({"--target-bits", "4"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: with scales and biases"));
  const auto json = result.json();
  for (const auto& layer : json.at("layers")) EXPECT_EQ(layer.at("bits"), 4);
}

TEST_F(KvCache, an_existing_folder_stays_without_force) {
  folder_.write("kv/kv_config.json", std::string_view("[]"));
  const ProgramResult refused = kv_cache();
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  EXPECT_EQ(written("kv_config.json").size(), 0U);
  const ProgramResult forced = kv_cache({"--force"});
  EXPECT_EQ(forced.status, 0) << forced.err;
  EXPECT_EQ(written("kv_config.json").size(), 3U);
}

TEST_F(KvCache, other_folders_are_not_replaced_even_with_force) {
  folder_.write("kv/letter.txt", std::string_view("dear"));
  const ProgramResult stranger = kv_cache({"--force"});
  EXPECT_EQ(stranger.status, 2);
  EXPECT_THAT(stranger.err, HasSubstr("holds no kv_config.json"));
  folder_.write("kv/config.json", std::string_view("{}"));
  folder_.write("kv/kv_config.json", std::string_view("[]"));
  const ProgramResult model = kv_cache({"--force"});
  EXPECT_EQ(model.status, 2);
  EXPECT_THAT(model.err, HasSubstr("is a model's"));
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "kv/letter.txt"));
}

TEST_F(KvCache, what_cannot_be_done_is_wrong_usage_and_leaves_nothing) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--candidate-bits", "3,8"}, "4 or 8"},
      {{"--candidate-bits", "4,x"}, "not a list of widths"},
      {{"--candidate-bits", ""}, "not a list of widths"},
      {{"--group-size", "48"}, "32 or 64"},
      {{"--target-bits", "3"}, "below the narrowest width"},
      {{"--separate-kv", "--compat", "optiq"}, "leave one of them out"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = kv_cache(arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(folder_.list().size(), 0U);
  }
  EXPECT_EQ(run_program({"kv-cache", kCase + "checkpoint"}).status, 2);
}

}  // namespace
}  // namespace quiver::test
