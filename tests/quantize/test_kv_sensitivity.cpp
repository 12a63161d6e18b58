// What storing keys and values in few bits costs, against recorded tables.
#include "core/quantize/kv_sensitivity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

#include "tests/quantize/convert_fixture.hpp"
#include "tests/support/float_pages.hpp"
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
class GridPages final : public FloatPages {
 public:
  GridPages(int key_bits, int value_bits, RoundGroup round)
      : key_bits_(key_bits), value_bits_(value_bits), round_(round) {}

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    FloatPages::write(shape, page, slot, rounded(key_bits_, keys), rounded(value_bits_, values));
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
};

/// What the reference's quantized cache gives back, with scales in float32.
std::shared_ptr<const KvStrategy> reference_kv(int key_bits, int value_bits) {
  return std::make_shared<GridPages>(key_bits, value_bits, round_group);
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
    return measure_kv(sweep_, plain_inputs(texts_), bits, is_apart);
  }

  void expect_recorded(const std::vector<KvLayerSensitivity>& layers, double relative,
                       double absolute) {
    const nlohmann::json expected =
        read_json_file(shared("reference/convert/llama_a/expected.json")).at("kv_sensitivity");
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
  const auto part = measure_kv(other, plain_inputs(texts_), bits, false);
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

}  // namespace
}  // namespace quiver::test
