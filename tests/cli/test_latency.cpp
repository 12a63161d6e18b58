// quiver latency: predictions against the same sums over what `quiver info` lists.
#include "tests/cli/run_program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kMixed = shared_path("reference/convert/llama_a/converted");
const std::string kBare = shared_path("models/shapes/llama-0.8b.json");

nlohmann::json latency(std::vector<std::string> words) {
  words.insert(words.begin(), {"latency", "--json"});
  const ProgramResult result = run_program(words);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.json();
}

TEST(LatencyCommand, is_the_sum_over_the_matrices_of_the_model) {
  const auto json = latency({kMixed, "--profile", "m1", "--context", "100"});
  const auto info = run_program({"info", kMixed, "--json"}).json();
  double bytes = info.at("bytes");
  double seconds = 0;
  for (const auto& layer : info.at("layers")) {
    const double stored = layer.at("bytes");
    if (layer.at("role") == "embedding") {  // one row of it; this model has a head
      const double rows = layer.at("shape").at(0);
      bytes += stored / rows - stored;
      continue;
    }
    const double columns = layer.at("shape").at(1);
    seconds += 5e-6 + (stored + 2 * columns) / 68.25e9 * 1.15;
    bytes -= stored;
  }
  const double kv = 100 * info.at("kv").at("bytes_per_token").get<double>();
  seconds += (bytes + kv) / 68.25e9;
  EXPECT_NEAR(json.at("decode_tps").get<double>() * seconds, 1, 1e-6);
  EXPECT_DOUBLE_EQ(json.at("kv_bytes"), kv);
  EXPECT_GT(json.at("prefill_tps"), json.at("decode_tps"));
  EXPECT_EQ(json.at("machine").at("name"), "m1");
  EXPECT_EQ(json.at("context"), 100);
  EXPECT_FALSE(json.contains("measured"));
}

TEST(LatencyCommand, of_experts_counts_those_that_a_token_passes) {
  const std::string model = shared_path("reference/qwen3_5/moe/checkpoint");
  const auto json = latency({model, "--profile", "m1", "--context", "0"});
  const auto info = run_program({"info", model, "--json"}).json();
  double bytes = info.at("bytes");
  double all = bytes;
  for (const auto& layer : info.at("layers")) {
    const double stored = layer.at("bytes");
    if (layer.at("role") == "embedding") bytes += stored / layer.at("shape").at(0).get<double>();
    if (layer.at("role") == "expert") {
      EXPECT_EQ(layer.at("shape").at(0), 7);
      EXPECT_EQ(layer.at("experts_per_token"), 3);
      bytes += stored * 3 / 7;
    }
    if (layer.at("role") == "embedding" || layer.at("role") == "expert") bytes -= stored;
  }
  EXPECT_LT(bytes, 0.9 * all);
  const double states = info.at("memory").at("state_bytes");
  EXPECT_NEAR(json.at("bytes_per_token").get<double>(), bytes + states, 1);
}

TEST(LatencyCommand, a_bare_config_is_enough_and_bits_a_weight_scale_it) {
  const auto at = [&](const char* bpw) {
    return latency({kBare, "--profile", "m2-max", "--target-bpw", bpw, "--context", "0"});
  };
  const auto four = at("4");
  const auto eight = at("8");
  const auto stored = latency({kBare, "--profile", "m2-max", "--context", "0"});
  EXPECT_THAT(stored.at("assumption").get<std::string>(), HasSubstr("--target-bpw"));
  EXPECT_THAT(four.at("assumption").get<std::string>(), HasSubstr("4 bits"));
  EXPECT_NEAR(eight.at("bytes_per_token").get<double>() / four.at("bytes_per_token").get<double>(),
              2, 0.01);
  EXPECT_LT(stored.at("decode_tps"), eight.at("decode_tps"));
  EXPECT_LT(eight.at("decode_tps"), four.at("decode_tps"));
}

TEST(LatencyCommand, keys_and_values_slow_a_long_context_down) {
  const auto at = [&](const char* context, const char* kv) {
    return latency({kBare, "--profile", "m1", "--context", context, "--kv", kv});
  };
  const auto near = at("64", "f16");
  const auto far = at("6400", "f16");
  EXPECT_DOUBLE_EQ(far.at("kv_bytes"), 100 * near.at("kv_bytes").get<double>());
  EXPECT_LT(far.at("decode_tps"), near.at("decode_tps"));
  EXPECT_DOUBLE_EQ(at("64", "f32").at("kv_bytes"), 2 * near.at("kv_bytes").get<double>());
}

TEST(LatencyCommand, calibrate_measures_this_machine_and_runs_the_model) {
  const auto json = latency({kMixed, "--calibrate", "--threads", "1", "--context", "8"});
  EXPECT_GT(json.at("machine").at("read_bytes_per_second"), 1e8);
  EXPECT_GT(json.at("machine").at("quantized_operations_per_second"), 1e8);
  EXPECT_GT(json.at("measured").at("decode_tps"), 0);
  EXPECT_GT(json.at("measured").at("prefill_tps"), 0);
}

TEST(LatencyCommand, for_people_names_machine_model_and_rates) {
  const ProgramResult result = run_program({"latency", kBare, "--profile", "m4-pro"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* word : {"m4-pro", "273.0 GB/s", "decoding", "prompts", "config.json"}) {
    EXPECT_THAT(result.out, HasSubstr(word));
  }
}

TEST(LatencyCommand, what_cannot_be_run_or_is_unknown_is_wrong_usage) {
  const auto status = [](std::vector<std::string> words) {
    words.insert(words.begin(), "latency");
    return run_program(words).status;
  };
  EXPECT_EQ(status({kMixed, "--profile", "m9"}), 2);
  EXPECT_EQ(status({kMixed, "--profile", "m1", "--calibrate"}), 2);
  EXPECT_EQ(status({kMixed, "--target-bpw", "4", "--calibrate"}), 2);
  EXPECT_EQ(status({kBare, "--calibrate"}), 2);
  EXPECT_EQ(status({kMixed, "--target-bpw", "0"}), 2);
  EXPECT_EQ(status({"/nowhere"}), 3);
}

}  // namespace
}  // namespace quiver::test
