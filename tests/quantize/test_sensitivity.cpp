// The sensitivity sweep against recorded tables, and what its figures must not depend on.
#include "core/quantize/sensitivity.hpp"

#include <gtest/gtest.h>

#include "tests/quantize/convert_fixture.hpp"

namespace quiver::test {
namespace {

/// A table of divergences by layer.
using Table = std::map<std::string, WidthDivergences>;

struct Sweep {
  std::shared_ptr<const LoadedModel> model;
  Texts texts;
  std::vector<int> bits{4, 8};
  int positions = 0;
  int threads = 2;
  int reference_bits = 0;

  Table run(const SweepHooks& hooks = {}) const {
    ThreadPool pool(threads);
    const MatrixEncoder encoder = exact_encoder();
    auto layers = quantizable_layers(*model, *encoder.scheme, 64);
    std::vector<EncodedMatrix> stand_ins;
    WeightVariant base;
    if (reference_bits != 0) {
      for (const QuantizableLayer& layer : layers) {
        stand_ins.emplace_back(*layer.matrix, layer.name,
                               QuantFormat{reference_bits, layer.group_size}, encoder,
                               std::span<const float>(), pool);
      }
      for (std::size_t i = 0; i < layers.size(); ++i) {
        base.push_back({layers[i].matrix, &stand_ins[i].matrix()});
      }
    }
    BlockRunner runner(model, float_kv(), pool, plain_inputs(texts), positions, base);
    trace_layers(runner, layers, false);
    Table table;
    SweepHooks all = hooks;
    all.measured = [&](std::size_t index, const WidthDivergences& kl) {
      table[layers[index].name] = kl;
    };
    measure_layers(runner, layers, {bits, encoder}, reference_bits, pool, all);
    return table;
  }
};

class SweepOfLlamaA : public testing::Test {
 protected:
  nlohmann::json expected = read_json_file(shared("reference/convert/llama_a/expected.json"));
  Sweep sweep{load_model(shared("reference/convert/llama_a/checkpoint")), llama_a_texts()};

  void expect_recorded(const Table& table, const char* key) const {
    const double relative = expected.at("kl_tolerance").at("relative");
    const double absolute = expected.at("kl_tolerance").at("absolute");
    for (const nlohmann::json& layer : expected.at(key)) {
      const auto found = table.find(layer.at("layer").get<std::string>());
      ASSERT_NE(found, table.end()) << layer.at("layer");
      for (const auto& [bits, kl] : layer.at("kl").items()) {
        const double want = kl.get<double>();
        EXPECT_NEAR(found->second.at(std::stoi(bits)), want, absolute + relative * std::abs(want))
            << found->first << " at " << bits << " bits";
      }
    }
  }
};

TEST_F(SweepOfLlamaA, gives_the_recorded_divergences_of_every_width) {
  sweep.bits = {2, 3, 4, 6, 8};
  expect_recorded(sweep.run(), "sensitivity");
}

TEST_F(SweepOfLlamaA, gives_the_recorded_divergences_from_a_4_bit_stand_in) {
  sweep.reference_bits = 4;
  expect_recorded(sweep.run(), "sensitivity_uniform4");
}

TEST_F(SweepOfLlamaA, does_not_depend_on_threads_or_on_what_else_is_measured) {
  const Table whole = sweep.run();
  sweep.threads = 1;
  SweepHooks hooks;
  hooks.wants = [](std::size_t index) { return index % 3 == 1; };
  const Table part = sweep.run(hooks);
  EXPECT_GT(part.size(), 5U);
  for (const auto& [name, kl] : part) EXPECT_EQ(kl, whole.at(name)) << name;
  sweep.bits = {8};
  for (const auto& [name, kl] : sweep.run()) EXPECT_EQ(kl.at(8), whole.at(name).at(8)) << name;
}

TEST_F(SweepOfLlamaA, estimates_the_divergence_from_some_positions) {
  const Table whole = sweep.run();
  sweep.positions = 39;  // of 40
  const Table most = sweep.run();
  sweep.positions = 10;
  const Table few = sweep.run();
  double sum = 0;
  double sum_of_few = 0;
  for (const auto& [name, kl] : whole) {
    // At most one position in forty is missing, and no position diverges by more than ten means.
    EXPECT_NEAR(most.at(name).at(4), kl.at(4), 0.3 * kl.at(4)) << name;
    EXPECT_NE(few.at(name).at(4), kl.at(4)) << name;
    sum += kl.at(4);
    sum_of_few += few.at(name).at(4);
  }
  EXPECT_NEAR(sum_of_few, sum, 0.3 * sum);
}

TEST_F(SweepOfLlamaA, measures_nothing_where_a_width_keeps_the_layer) {
  sweep.bits = {4, 16};
  for (const auto& [name, kl] : sweep.run()) EXPECT_EQ(kl.at(16), 0.0) << name;
}

}  // namespace
}  // namespace quiver::test
