// Choosing the widths of keys and values, against recorded choices and by trying everything.
#include "core/quantize/allocate_kv.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <random>

#include "core/decode/kv_config.hpp"
#include "core/model/json_file.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "tests/support/models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

/// A table of layers of a size, KLs falling by a law with noise.
std::vector<KvLayerSensitivity> random_layers(std::uint32_t seed, std::vector<int> bits,
                                              bool is_apart) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<KvLayerSensitivity> layers;
  for (int i = 0; i < 5; ++i) {
    KvLayerSensitivity layer;
    layer.block = 2 * i;
    layer.name = "layers." + std::to_string(layer.block);
    layer.page_numbers = 64U * 2 * 64 * (1 + random() % 3);
    const auto curve = [&] {
      WidthDivergences kl;
      const double height = std::exp(2 * normal(random));
      for (const int b : bits) kl[b] = height * std::exp(-1.3 * b + 0.4 * normal(random));
      return kl;
    };
    layer.kl = curve();
    if (is_apart) {
      layer.key_kl = curve();
      layer.value_kl = curve();
    }
    for (const int b : bits) {
      layer.page_bytes[b] = layer.page_numbers * static_cast<unsigned>(2 * b + 1) / 16;
    }
    layers.push_back(layer);
  }
  return layers;
}

/// The least sum of KLs within the target, by trying everything.
double least_kl(const std::vector<KvLayerSensitivity>& layers, const std::vector<int>& bits,
                double target) {
  const bool is_apart = !layers[0].key_kl.empty();
  const std::size_t units = layers.size() * (is_apart ? 2 : 1);
  std::vector<std::size_t> choice(units);
  double least = std::numeric_limits<double>::infinity();
  for (bool is_more = true; is_more;) {
    double kl = 0;
    double bytes = 0;
    double numbers = 0;
    for (std::size_t u = 0; u < units; ++u) {
      const KvLayerSensitivity& layer = layers[is_apart ? u / 2 : u];
      const int b = bits[choice[u]];
      kl += (!is_apart ? layer.kl : u % 2 == 0 ? layer.key_kl : layer.value_kl).at(b);
      const double share = is_apart ? 2 : 1;
      bytes += static_cast<double>(layer.page_bytes.at(b)) / share;
      numbers += static_cast<double>(layer.page_numbers) / share;
    }
    if (bytes * 8 / numbers <= target) least = std::min(least, kl);
    is_more = false;
    for (std::size_t u = 0; u < units && !is_more; ++u) {
      is_more = ++choice[u] < bits.size();
      if (!is_more) choice[u] = 0;
    }
  }
  return least;
}

TEST(AllocateKv, finds_the_least_sum_within_the_target) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const bool is_apart = seed % 2 == 1;
    const std::vector<int> bits = is_apart ? std::vector<int>{4, 8} : std::vector<int>{2, 3, 4, 8};
    const auto layers = random_layers(seed, bits, is_apart);
    for (const double target : {4.6, 5.0, 6.3, 9.0}) {
      const KvAllocation found = allocate_kv(layers, target);
      EXPECT_LE(found.true_bits, target);
      EXPECT_NEAR(found.kl, least_kl(layers, bits, target), 1e-9) << seed << " " << target;
      EXPECT_EQ(found.warning, "");
      double bytes = 0;
      for (std::size_t i = 0; i < layers.size(); ++i) {
        bytes += static_cast<double>(layers[i].page_bytes.at(found.layers[i].key_bits) +
                                     layers[i].page_bytes.at(found.layers[i].value_bits)) /
                 2 / 64;
      }
      EXPECT_DOUBLE_EQ(found.bytes_per_token, bytes);
    }
  }
}

TEST(AllocateKv, takes_the_narrowest_width_where_only_its_scales_pass_the_target) {
  const auto layers = random_layers(1, {4, 8}, false);
  const KvAllocation found = allocate_kv(layers, 4);
  EXPECT_EQ(found.mean_bits, 4);
  EXPECT_EQ(found.true_bits, 4.5);
  EXPECT_THAT(found.warning, testing::HasSubstr("4.5 bits"));
  EXPECT_THROW(allocate_kv(layers, 3.9), Error);
}

TEST(AllocateKv, every_recorded_choice_of_the_reference_is_reproduced) {
  int compared = 0;
  for (const char* model : {"llama_a", "qwen35_a"}) {
    const nlohmann::json expected =
        read_json_file(shared(std::string("reference/convert/") + model + "/expected.json"));
    for (const nlohmann::json& allocation : expected.at("kv_allocations")) {
      std::vector<KvLayerSensitivity> layers;
      for (const nlohmann::json& entry : expected.at("kv_sensitivity")) {
        KvLayerSensitivity layer;
        layer.block = entry.at("layer_idx");
        layer.name = entry.at("layer_name");
        layer.page_numbers = 64;
        for (const int bits : allocation.at("candidate_bits")) {
          layer.kl[bits] = entry.at("kl").at(std::to_string(bits));
          layer.page_bytes[bits] = 8U * static_cast<unsigned>(bits);
        }
        layers.push_back(layer);
      }
      const KvAllocation found = allocate_kv_greedy(layers, allocation.at("target_kv_bits"));
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const int want = allocation.at("bits").at(std::to_string(layers[i].block));
        EXPECT_EQ(found.layers[i].key_bits, want) << model << " " << allocation.dump();
        EXPECT_EQ(found.layers[i].value_bits, want) << model << " " << allocation.dump();
      }
      ++compared;
    }
  }
  EXPECT_EQ(compared, 10);
}

TEST(AllocateKv, the_reference_gives_the_earlier_of_equal_layers_more) {
  std::vector<KvLayerSensitivity> layers = random_layers(2, {4, 8}, false);
  for (KvLayerSensitivity& layer : layers) layer.kl = {{4, 0.5}, {8, 0.25}};
  const KvAllocation found = allocate_kv_greedy(layers, 4.9);
  EXPECT_EQ(found.layers[0].key_bits, 8);
  EXPECT_EQ(found.layers[1].key_bits, 8);
  EXPECT_EQ(found.layers[2].key_bits, 4);
  EXPECT_EQ(found.mean_bits, 5.6);
  EXPECT_EQ(allocate_kv_greedy(layers, 32).mean_bits, 8);
}

TEST(KvRecords, the_config_is_read_back_as_it_was_meant) {
  const auto layers = random_layers(3, {4, 8}, true);
  KvAllocation allocation;
  allocation.layers = {{4, 4}, {8, 8}, {4, 8}, {8, 4}, {4, 4}};
  const nlohmann::json config = kv_config_record(layers, allocation, 32);
  EXPECT_EQ(config[0], (nlohmann::json{{"layer_idx", 0}, {"bits", 4}, {"group_size", 32}}));
  TemporaryFolder folder;
  write_json_file(folder.path() / "kv_config.json", config);
  const auto read = read_kv_config(folder.path() / "kv_config.json");
  ASSERT_EQ(read.size(), 5U);
  EXPECT_EQ(read[1].label, "affine:bits=8,group=32");
  EXPECT_EQ(read[2].layer, 4);
  EXPECT_EQ(read[2].label, "affine:bits=8,key-bits=4,value-bits=8,group=32");
  EXPECT_EQ(read[3].label, "affine:bits=8,key-bits=8,value-bits=4,group=32");
}

TEST(KvRecords, the_table_has_the_keys_of_the_reference) {
  auto layers = random_layers(4, {4, 8}, true);
  layers[0].kv_heads = 3;
  layers[0].head_dim = 96;
  const nlohmann::json entry = kv_sensitivity_record(layers)[0];
  EXPECT_EQ(entry.at("layer_idx"), 0);
  EXPECT_EQ(entry.at("layer_name"), "layers.0");
  EXPECT_EQ(entry.at("n_kv_heads"), 3);
  EXPECT_EQ(entry.at("head_dim"), 96);
  EXPECT_EQ(entry.at("sensitivities").at("8"), layers[0].kl.at(8));
  EXPECT_EQ(entry.at("k_sensitivities").at("4"), layers[0].key_kl.at(4));
  EXPECT_EQ(entry.at("v_sensitivities").at("4"), layers[0].value_kl.at(4));
}

}  // namespace
}  // namespace quiver::test
