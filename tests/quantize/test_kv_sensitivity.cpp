// Measuring and choosing the widths of keys and values, against recorded tables.
#include "core/quantize/kv_sensitivity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <random>

#include "core/decode/kv_config.hpp"
#include "core/quantize/allocate_kv.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "core/quantize/split_pages.hpp"
#include "tests/quantize/convert_fixture.hpp"
#include "tests/support/kv.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

constexpr int kGroup = 64;

/// One group through the affine format and back, by the recipe in shared/specs/convert.md.
void round_group(int bits, std::span<float> group) {
  const auto [low, high] = std::ranges::minmax(group);
  const auto codes = static_cast<float>((1 << bits) - 1);
  float scale = std::max((high - low) / codes, 1e-7F);
  const bool is_low_end = std::abs(low) > std::abs(high);
  const float edge = is_low_end ? low : high;
  if (!is_low_end) scale = -scale;
  const float steps = std::nearbyint(edge / scale);
  float bias = 0;
  if (steps != 0) {
    scale = edge / steps;
    bias = edge;
  }
  for (float& x : group) {
    const float code = std::clamp(std::nearbyint((x - bias) / scale), 0.0F, codes);
    x = scale * code + bias;
  }
}

/// The same for a grid from the least number to the greatest.
void round_group_to_range(int bits, std::span<float> group) {
  const auto [low, high] = std::ranges::minmax(group);
  const auto codes = static_cast<float>((1 << bits) - 1);
  const float scale = (high - low) / codes;
  for (float& x : group) x = scale * std::nearbyint((x - low) / scale) + low;
}

using RoundGroup = void (*)(int bits, std::span<float> group);

/// Keys and values rounded group by group and kept as float32; 0 bits = as they are.
class GridPages final : public KvStrategy {
 public:
  GridPages(int key_bits, int value_bits, RoundGroup round)
      : key_bits_(key_bits), value_bits_(value_bits), round_(round) {}

  std::size_t page_bytes(const KvShape& shape) const override { return full_->page_bytes(shape); }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    full_->write(shape, page, slot, rounded(key_bits_, keys), rounded(value_bits_, values));
  }

  void scores(const KvShape& shape, const std::byte* page, int kv_head, int first, int last,
              const float* queries, int query_count, float* scores) const override {
    full_->scores(shape, page, kv_head, first, last, queries, query_count, scores);
  }

  void accumulate(const KvShape& shape, const std::byte* page, int kv_head, int first, int last,
                  const float* weights, int query_count, float* output) const override {
    full_->accumulate(shape, page, kv_head, first, last, weights, query_count, output);
  }

 private:
  std::vector<float> rounded(int bits, std::span<const float> numbers) const {
    std::vector<float> result(numbers.begin(), numbers.end());
    for (std::size_t at = 0; bits != 0 && at < result.size(); at += kGroup) {
      round_(bits, std::span(result).subspan(at, kGroup));
    }
    return result;
  }

  int key_bits_;
  int value_bits_;
  RoundGroup round_;
  std::shared_ptr<const KvStrategy> full_ = float_kv();
};

/// What the reference's quantized cache gives back, with scales in float32.
std::shared_ptr<const KvStrategy> reference_kv(int key_bits, int value_bits) {
  return std::make_shared<GridPages>(key_bits, value_bits, round_group);
}

nlohmann::json recorded(const std::string& model) {
  return read_json_file(shared("reference/convert/" + model + "/expected.json"));
}

class KvSweepOfLlamaA : public testing::Test {
 protected:
  ThreadPool threads_{2};
  KvSweep sweep_{load_model(shared("reference/convert/llama_a/checkpoint")),
                 float_kv(),
                 reference_kv,
                 threads_,
                 {}};
  Texts texts_ = llama_a_texts();

  std::vector<KvLayerSensitivity> measure(std::vector<int> bits, bool is_apart = false) {
    return measure_kv(sweep_, texts_, bits, is_apart);
  }

  void expect_recorded(const std::vector<KvLayerSensitivity>& layers, double relative,
                       double absolute) {
    const nlohmann::json expected = recorded("llama_a").at("kv_sensitivity");
    ASSERT_EQ(layers.size(), expected.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      EXPECT_EQ(layers[i].block, expected[i].at("layer_idx").get<int>());
      EXPECT_EQ(layers[i].name, expected[i].at("layer_name").get<std::string>());
      EXPECT_EQ(layers[i].kv_heads, expected[i].at("n_kv_heads").get<int>());
      EXPECT_EQ(layers[i].head_dim, expected[i].at("head_dim").get<int>());
      for (const auto& [bits, kl] : layers[i].kl) {
        const double want = expected[i].at("kl").at(std::to_string(bits)).get<double>();
        EXPECT_NEAR(kl, want, absolute + relative * want) << i << " at " << bits << " bits";
      }
    }
  }
};

TEST_F(KvSweepOfLlamaA, gives_the_recorded_divergences_of_every_width) {
  expect_recorded(measure({2, 4, 8}), 2e-3, 2e-6);  // the spec's tolerance
}

TEST_F(KvSweepOfLlamaA, a_prompt_meets_its_own_stored_tokens_as_in_the_recorded_logits) {
  const auto file = SafetensorsFile::open(shared("reference/convert/llama_a/expected.safetensors"));
  const std::vector<float> full = floats(file, "ref_logits");
  for (const int bits : {2, 4, 8}) {
    const KvPlan plan =
        plan_of_block(sweep_.model->weights(), sweep_.full, 0, reference_kv(bits, bits));
    Engine engine(sweep_.model, plan, threads_, {ComputeMode::exact});
    const Logits logits = all_logits(engine, texts_[0], 40);
    const std::vector<float> want =
        floats(file, "kv_logits_layer0_" + std::to_string(bits) + "bit");
    EXPECT_LT(largest_difference(logits.values, want), 1e-3) << bits;
    EXPECT_GT(largest_difference(std::span(full).first(want.size()), want), 1e-2) << bits;
  }
}

// kv-affine spans a group's range from its least number to its greatest, where the reference moves
// the range so that one code is zero, and its scales and biases have 11 significant bits: an end of
// the range is off by up to 1/4096 of it, which is a 270th of a step at 4 bits and a sixteenth
// at 8. Only the second is an error: the first is another grid, as good.
TEST_F(KvSweepOfLlamaA, scales_of_16_bits_hardly_change_the_divergences_of_the_plugins_grid) {
  sweep_.make = [](int key_bits, int value_bits) {
    return std::make_shared<GridPages>(key_bits, value_bits, round_group_to_range);
  };
  const auto want = measure({4, 8});
  sweep_.make = affine_kv;
  const auto found = measure({4, 8});
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i].kl.at(4), want[i].kl.at(4), 0.02 * want[i].kl.at(4)) << i;
    EXPECT_NEAR(found[i].kl.at(8), want[i].kl.at(8), 0.1 * want[i].kl.at(8)) << i;
  }
}

TEST_F(KvSweepOfLlamaA, the_plugins_grid_gives_about_the_recorded_divergences) {
  sweep_.make = affine_kv;
  expect_recorded(measure({4, 8}), 0.25, 2e-6);
}

TEST_F(KvSweepOfLlamaA, keys_and_values_apart_are_what_storing_one_of_them_costs) {
  const auto apart = measure({2, 4}, true);
  sweep_.make = [](int bits, int) { return reference_kv(bits, 0); };
  const auto keys = measure({2, 4});
  sweep_.make = [](int, int bits) { return reference_kv(0, bits); };
  const auto values = measure({2, 4});
  for (std::size_t i = 0; i < apart.size(); ++i) {
    EXPECT_EQ(apart[i].key_kl, keys[i].kl) << i;
    EXPECT_EQ(apart[i].value_kl, values[i].kl) << i;
    EXPECT_EQ(apart[i].kl.at(2), keys[i].kl.at(2) + values[i].kl.at(2)) << i;
  }
}

TEST_F(KvSweepOfLlamaA, does_not_depend_on_threads_or_on_what_else_is_measured) {
  const auto whole = measure({4, 8});
  ThreadPool one(1);
  KvSweep other{sweep_.model, sweep_.full, sweep_.make, one, {}};
  const std::vector<int> bits = {8};
  const auto part = measure_kv(other, texts_, bits, false);
  for (std::size_t i = 0; i < part.size(); ++i) {
    EXPECT_EQ(part[i].kl.at(8), whole[i].kl.at(8)) << i;
  }
}

TEST_F(KvSweepOfLlamaA, pages_are_counted_as_the_strategy_makes_them) {
  sweep_.make = affine_kv;
  const auto layers = measure({4, 8});
  EXPECT_EQ(layers[0].page_numbers, 64U * 2 * 2 * 64);
  EXPECT_EQ(layers[0].page_bytes.at(4) * 8, layers[0].page_numbers * 9 / 2);
  EXPECT_EQ(layers[0].page_bytes.at(8) * 8, layers[0].page_numbers * 17 / 2);
}

TEST_F(KvSweepOfLlamaA, refuses_to_choose_where_no_width_makes_a_difference) {
  sweep_.make = [this](int, int) { return sweep_.full; };
  try {
    measure({4, 8});
    FAIL() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_THAT(error.message(), testing::HasSubstr("makes a difference"));
  }
}

TEST_F(KvSweepOfLlamaA, ends_where_the_progress_says_so_and_counts_every_pass) {
  std::uint64_t last = 0;
  std::uint64_t all = 0;
  sweep_.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
    return true;
  };
  measure({4, 8});
  EXPECT_EQ(last, all);
  EXPECT_EQ(all, 2U * 40 * (3 * 2 + 1));
  sweep_.progress = [](std::uint64_t done, std::uint64_t) { return done < 100; };
  try {
    measure({4, 8});
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::interrupted);
  }
}

TEST_F(KvSweepOfLlamaA, refuses_texts_that_are_none) {
  texts_ = {{}};
  EXPECT_THROW(measure({4}), Error);
  texts_ = {{1, 2, 100000}};
  EXPECT_THROW(measure({4}), Error);
  texts_ = {};
  EXPECT_THROW(measure({4}), Error);
}

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
    const nlohmann::json expected = recorded(model);
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
