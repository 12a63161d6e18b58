// The sensitivity sweep against recorded tables, and what its figures must not depend on.
#include "core/quantize/sensitivity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/model/json_file.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

MatrixEncoder exact_encoder() {
  auto scheme = affine_scheme({});
  return {scheme, [scheme](auto weights, auto rows, auto columns, const auto& format, auto type,
                           auto, auto parts) {
            scheme->encode(weights, rows, columns, format, type, parts);
          }};
}

using Texts = std::vector<std::vector<std::int32_t>>;

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
    BlockRunner runner(model, float_kv(), pool, texts, positions, base);
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
  Sweep sweep{load_model(shared("reference/convert/llama_a/checkpoint")), texts()};

  static Texts texts() {
    const auto file =
        SafetensorsFile::open(shared("reference/convert/llama_a/expected.safetensors"));
    const TensorView& tokens = file.at("calib_tokens");
    Texts texts(static_cast<std::size_t>(tokens.shape[0]));
    const auto length = static_cast<std::size_t>(tokens.shape[1]);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      texts[i].resize(length);
      std::memcpy(texts[i].data(), tokens.data.data() + i * length * 4, length * 4);
    }
    return texts;
  }

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

}  // namespace
}  // namespace quiver::test
