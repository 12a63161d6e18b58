// Conversions of models with parts for images and sound that their family does not run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/quantize/tower_file.hpp"
#include "tests/quantize/convert_fixture.hpp"
#include "tests/support/seeing_family.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;

class Towers : public testing::Test {
 protected:
  void SetUp() override {
    write_seeing_model(shared("reference/convert/llama_a/checkpoint"), source_);
    nlohmann::json config = read_json_file(source_ / "config.json");
    config["vision_config"] = {{"depth", 1}};
    config["audio_config"] = {{"channels", 6}};
    write_json_file(source_ / "config.json", config);
    options_.target_bpw = 6.5;
    options_.method = ConvertMethod::by_rules;
  }

  Conversion convert(UnusedModalities modalities) {
    options_.modalities = modalities;
    ThreadPool pool(2);
    const ConvertMeans means{exact_encoder(),  {}, false, float_kv(), pool, nullptr, nullptr,
                             load_seeing_model};
    return quiver::convert(load_seeing_model(source_), {}, out_, options_, means);
  }

  nlohmann::json config() const { return read_json_file(out_ / "config.json"); }
  bool has_file() const { return std::filesystem::exists(out_ / kTowerFile); }

  TemporaryFolder folder_;
  std::filesystem::path source_ = folder_.path() / "source";
  std::filesystem::path out_ = folder_.path() / "out";
  ConvertOptions options_;
};

TEST_F(Towers, are_known_apart_from_what_is_dropped_for_good) {
  const auto model = load_seeing_model(source_);
  std::vector<std::string> names;
  for (const TensorView* tower : model->checkpoint()->towers()) {
    names.emplace_back(tower->name);
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("model.visual.blocks.0.attn.qkv.weight",
                                                   "model.visual.patch_embed.proj.weight",
                                                   "audio_tower.conv1.weight"));
}

TEST_F(Towers, are_left_out_with_a_warning) {
  const Conversion result = convert(UnusedModalities::left_out);
  ASSERT_EQ(result.warnings.size(), 1U);
  EXPECT_THAT(result.warnings[0],
              HasSubstr("3 tensors of audio_tower, model.visual, 0.0 MB, are left out"));
  EXPECT_FALSE(has_file());
  EXPECT_TRUE(config().contains("vision_config"));
}

TEST_F(Towers, are_kept_as_they_are_in_a_file_that_models_are_not_read_from) {
  const Conversion plain = convert(UnusedModalities::left_out);
  options_.replaces = true;
  const Conversion result = convert(UnusedModalities::kept);
  EXPECT_TRUE(result.warnings.empty());
  EXPECT_EQ(result.bytes, plain.bytes);
  EXPECT_DOUBLE_EQ(result.bpw_true, plain.bpw_true);
  EXPECT_TRUE(config().contains("vision_config"));
  EXPECT_TRUE(config().contains("audio_config"));
  const auto kept = SafetensorsFile::open(out_ / kTowerFile);
  const auto source = SafetensorsFile::open(source_ / "model-towers.safetensors");
  EXPECT_EQ(kept.tensors().size(), 3U);
  for (const auto& [to, from] :
       {std::pair{"vision_tower.blocks.0.attn.qkv.weight", "model.visual.blocks.0.attn.qkv.weight"},
        std::pair{"vision_tower.patch_embed.proj.weight", "model.visual.patch_embed.proj.weight"},
        std::pair{"audio_tower.conv1.weight", "audio_tower.conv1.weight"}}) {
    EXPECT_EQ(kept.at(to).dtype, source.at(from).dtype);
    EXPECT_EQ(kept.at(to).shape, source.at(from).shape);
    EXPECT_TRUE(std::ranges::equal(kept.at(to).data, source.at(from).data)) << from;
  }
  EXPECT_EQ(load_model(out_)->weights().linears().size(), 22U);  // by a family that knows no towers
}

TEST_F(Towers, are_stripped_from_the_config_too) {
  const Conversion result = convert(UnusedModalities::stripped);
  EXPECT_TRUE(result.warnings.empty());
  EXPECT_FALSE(has_file());
  EXPECT_FALSE(config().contains("vision_config"));
  EXPECT_FALSE(config().contains("audio_config"));
  EXPECT_TRUE(config().contains("hidden_size"));
}

TEST_F(Towers, models_without_any_get_no_file_and_no_warning) {
  std::filesystem::remove(source_ / "model-towers.safetensors");
  EXPECT_TRUE(convert(UnusedModalities::left_out).warnings.empty());
  options_.replaces = true;
  convert(UnusedModalities::kept);
  EXPECT_FALSE(has_file());
}

TEST(TowerNames, are_those_that_readers_look_for) {
  EXPECT_EQ(tower_name("model.visual.x"), "vision_tower.x");
  EXPECT_EQ(tower_name("visual.x.y"), "vision_tower.x.y");
  EXPECT_EQ(tower_name("model.audio.visual.x"), "audio.visual.x");
  EXPECT_EQ(tower_name("vision_tower.x"), "vision_tower.x");
}

TEST(TowerNames, that_two_tensors_would_share_are_refused) {
  const TemporaryFolder folder;
  write_tensors(folder.path() / "in.safetensors",
                {{"model.visual.x", {{1}, {1}}}, {"visual.x", {{1}, {2}}}});
  const auto file = SafetensorsFile::open(folder.path() / "in.safetensors");
  const std::vector<const TensorView*> towers = {&file.tensors()[0], &file.tensors()[1]};
  EXPECT_THROW(write_towers(towers, folder.path(), [] { return false; }), Error);
  EXPECT_EQ(folder.list(), std::vector<std::string>{"in.safetensors"});
}

}  // namespace
}  // namespace quiver::test
