// The fast mode: what its rounding costs, and that packing is only another form of the same
// weights.
#include <gtest/gtest.h>

#include <random>

#include "core/eval/divergence.hpp"
#include "core/model/packed_model.hpp"
#include "tests/support/models.hpp"

namespace quiver::test {
namespace {

class FastMode : public testing::Test {
 protected:
  double mean_kl(ActivationChoice activations, bool is_decoding = false) {
    TestEngine fast{model, 2, "f32", {ComputeMode::fast, activations}};
    TestEngine exact{model};
    std::mt19937 random(1);
    std::vector<std::int32_t> ids(300);
    for (auto& id : ids) {
      id = static_cast<std::int32_t>(random() %
                                     static_cast<unsigned>(fast.engine.info().vocabulary));
    }
    DivergenceOptions options;
    options.is_decoding = is_decoding;
    return divergence(fast.engine, exact.engine, ids, options).mean;
  }

  std::shared_ptr<const LoadedModel> model =
      load_model(shared("reference/convert/llama_a/converted"));
};

TEST_F(FastMode, sixteen_bit_activations_cost_next_to_nothing) {
  const double kl = mean_kl(ActivationChoice::automatic);
  EXPECT_GT(kl, 0);
  EXPECT_LE(kl, 1e-6);
  EXPECT_EQ(mean_kl(ActivationChoice::automatic, true), kl);
  EXPECT_EQ(mean_kl(ActivationChoice::int16), kl);
}

TEST_F(FastMode, eight_bit_activations_cost_more_and_still_little) {
  const double kl = mean_kl(ActivationChoice::int8);
  EXPECT_GT(kl, 100 * mean_kl(ActivationChoice::int16));
  EXPECT_LE(kl, 1e-2);
}

TEST_F(FastMode, float_activations_are_the_exact_mode) {
  EXPECT_EQ(mean_kl(ActivationChoice::float32), 0);
}

TEST_F(FastMode, a_model_without_quantized_layers_is_exact) {
  model = load_model(shared("reference/llama/llama/checkpoint"));
  EXPECT_EQ(mean_kl(ActivationChoice::automatic), 0);
}

TEST_F(FastMode, every_quantized_matrix_is_packed_once_when_it_is_needed) {
  ThreadPool threads(2);
  PackedModel packed(*model);
  EXPECT_EQ(packed.packed_bytes(), 0U);
  std::size_t stored = 0;
  for (const LinearPart& part : model->weights().linears()) {
    const PackedWeights* weights = packed.find(part.matrix, threads);
    ASSERT_EQ(weights != nullptr, part.matrix.scheme != nullptr) << part.name;
    if (weights == nullptr) continue;
    EXPECT_EQ(packed.find(part.matrix, threads), weights);
    EXPECT_EQ(weights->outputs, part.matrix.rows);
    stored += part.matrix.size_bytes();
  }
  EXPECT_GE(packed.packed_bytes(), stored);
  EXPECT_LE(static_cast<double>(packed.packed_bytes()), 1.15 * static_cast<double>(stored));
}

}  // namespace
}  // namespace quiver::test
