// Sweeps of models for tests, and tables that were recorded of them.
#pragma once

#include <gtest/gtest.h>

#include "core/quantize/sensitivity.hpp"
#include "tests/quantize/convert_fixture.hpp"

namespace quiver::test {

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
    stand_ins.reserve(layers.size());
    for (const QuantizableLayer& layer : layers) {
      if (reference_bits == 0 || layer.group_size == 0) continue;
      stand_ins.emplace_back(*layer.matrix, layer.name,
                             QuantFormat{reference_bits, layer.group_size}, encoder,
                             std::span<const float>(), pool);
      base.push_back({layer.matrix, &stand_ins.back().matrix()});
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

/// Compares with what a recorded set has under `key`, within its tolerance.
inline void expect_recorded_table(const Table& table, const nlohmann::json& expected,
                                  const char* key) {
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

}  // namespace quiver::test
