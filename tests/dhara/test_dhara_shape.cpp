// Configs of the dhara family: defaults, variants, and what is refused.
#include <gmock/gmock.h>

#include <quiver/block_prediction.hpp>
#include <quiver/calibration_probes.hpp>

#include "tests/dhara/dhara_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

class DharaShape : public testing::Test {
 protected:
  std::shared_ptr<const LoadedModel> describe(const nlohmann::json& config) {
    std::ofstream(folder.path() / "config.json") << config;
    return LoadedModel::describe(folder.path(), dhara_architecture, affine_scheme);
  }
  std::string refusal(nlohmann::json config) {
    config["model_type"] = "dhara_ar";
    try {
      describe(config);
    } catch (const Error& error) {
      return error.message() + " | " + error.where();
    }
    return {};
  }

  TemporaryFolder folder;
};

TEST_F(DharaShape, what_a_config_leaves_out_is_that_of_dhara_250m) {
  const auto bare = describe({{"model_type", "dhara_ar"}});
  const auto full = LoadedModel::describe(shared("models/shapes/dhara-250m.json"),
                                          dhara_architecture, affine_scheme);
  EXPECT_EQ(bare->text().info().vocabulary, 49155);
  EXPECT_EQ(full->weights().linears().size(), 224U);
  EXPECT_EQ(bare->weights().linears().size(), full->weights().linears().size());
  EXPECT_EQ(bare->weights().causal_convs().size(), 6U * 32U);
}

TEST_F(DharaShape, any_subset_of_canon_letters_can_be_asked_for) {
  const std::size_t per_letter[] = {1, 3, 1, 1};
  for (unsigned bits = 0; bits < 16; ++bits) {
    std::string letters;
    std::size_t convs = 0;
    for (unsigned i = 0; i < 4; ++i) {
      if ((bits & (1U << i)) == 0) continue;
      letters += static_cast<char>('A' + i);
      convs += per_letter[i];
    }
    const auto model =
        describe({{"model_type", "dhara_ar"}, {"canon_set", letters}, {"num_hidden_layers", 2}});
    EXPECT_EQ(model->weights().causal_convs().size(), 2 * convs) << letters;
  }
}

TEST_F(DharaShape, configs_that_make_no_sense_are_refused_by_name) {
  EXPECT_THAT(refusal({{"canon_set", "ABX"}}), testing::HasSubstr("canon_set"));
  EXPECT_THAT(refusal({{"canon_kernel", 0}}), testing::HasSubstr("canon_kernel"));
  EXPECT_THAT(refusal({{"num_key_value_heads", 5}}), testing::HasSubstr("num_key_value_heads"));
  EXPECT_THAT(refusal({{"head_dim", 7}}), testing::HasSubstr("head_dim"));
  EXPECT_THAT(refusal({{"mask_token_id", 50000}}), testing::HasSubstr("mask_token_id"));
  EXPECT_THAT(refusal({{"hidden_size", 6}}), testing::HasSubstr("head_dim"));
}

TEST_F(DharaShape, probes_alternate_and_mask_a_falling_share_of_the_last_block) {
  const auto model = describe({{"model_type", "dhara_ar"}});
  const auto& probes = *static_cast<const CalibrationProbes*>(
      model->model().extension(CalibrationProbes::kInterfaceId));
  const std::vector<std::int32_t> text(50, 7);
  const std::size_t masks[] = {32, 24, 16, 8, 32, 24};
  for (int i = 0; i < 12; ++i) {
    auto tokens = text;
    const Visibility visibility = probes.probe(i, tokens);
    const auto masked = static_cast<std::size_t>(std::ranges::count(tokens, 49152));
    if (i % 2 == 0) {
      EXPECT_EQ(visibility, Visibility()) << i;
      EXPECT_EQ(masked, 0U) << i;
      continue;
    }
    EXPECT_EQ(visibility, (Visibility{VisibilityKind::block_causal, 32})) << i;
    EXPECT_EQ(masked, masks[i / 2]) << i;
    EXPECT_EQ(std::ranges::count(std::span(tokens).first(18), 49152), 0) << i;
    auto again = text;
    probes.probe(i, again);
    EXPECT_EQ(again, tokens) << i;
  }
  std::vector<std::int32_t> one{7};
  probes.probe(7, one);
  EXPECT_EQ(one[0], 49152) << "one mask at least";
  std::vector<std::int32_t> none;
  probes.probe(1, none);
}

TEST_F(DharaShape, block_prediction_names_mask_and_grid) {
  const auto model = describe({{"model_type", "dhara_ar"}});
  const auto& blocks =
      *static_cast<const BlockPrediction*>(model->model().extension(BlockPrediction::kInterfaceId));
  EXPECT_EQ(blocks.block_prediction().mask_token, 49152);
  EXPECT_EQ(blocks.block_prediction().block_length, 32);
}

}  // namespace
}  // namespace quiver::test
