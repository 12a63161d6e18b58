// A family that runs the text of its models, which have towers for images and sound beside it.
#pragma once

#include <array>

#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/models.hpp"

namespace quiver::test {

/// Arch-llama's models; what is stored for eyes and ears is dropped by rule.
class SeeingArchitecture : public Architecture {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return text().create("llama", config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    static constexpr std::array<TensorRule, 4> kRules = {{
        {TensorRuleKind::drop_tower, "model.visual.**", nullptr, nullptr, nullptr},
        {TensorRuleKind::drop_tower, "audio_tower.**", nullptr, nullptr, nullptr},
        {TensorRuleKind::drop, "model.rotary_emb.inv_freq", nullptr, nullptr, nullptr},
        {TensorRuleKind::drop, "lm_head.*", nullptr, nullptr, "tie_word_embeddings"},
    }};
    return kRules;
  }
  const void* extension(std::string_view id) const override { return text().extension(id); }

 private:
  static const Architecture& text() { return load_plugin<Architecture>("arch-llama"); }
};

inline std::shared_ptr<const LoadedModel> load_seeing_model(const std::filesystem::path& folder) {
  const auto source = [](std::string_view) -> ArchitectureOffer {
    return {std::make_shared<SeeingArchitecture>(), "seeing", "arch-seeing"};
  };
  return LoadedModel::load(folder, source, affine_scheme);
}

/// A copy of a model of the family's text part in `folder`, with towers and a stored table, none of
/// which the text needs.
inline void write_seeing_model(const std::filesystem::path& text,
                               const std::filesystem::path& folder) {
  std::filesystem::copy(text, folder);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::filesystem::permissions(entry, std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
  }
  std::filesystem::rename(folder / "model.safetensors", folder / "model-text.safetensors");
  const auto table = [](std::int64_t rows, std::int64_t columns, float first) {
    FloatTensor tensor{{rows, columns}, {}};
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      tensor.values.push_back(first + static_cast<float>(i));
    }
    return tensor;
  };
  write_tensors(folder / "model-towers.safetensors",
                {{"model.visual.blocks.0.attn.qkv.weight", table(3, 4, 0.5F)},
                 {"model.visual.patch_embed.proj.weight", table(2, 8, 100)},
                 {"audio_tower.conv1.weight", table(1, 6, -7)},
                 {"model.rotary_emb.inv_freq", table(1, 32, 1)}});
}

}  // namespace quiver::test
