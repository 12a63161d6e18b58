// The plugin arch-qwen3_5.
#include <quiver/plugin.hpp>
#include <quiver/sidecars.hpp>

#include <initializer_list>
#include <vector>

#include "converted_config.hpp"
#include "qwen3_5.hpp"

namespace quiver::qwen3_5 {
namespace {

using Kind = TensorRuleKind;

// Where this convolution lies as its authors store it, norms are stored around zero.
constexpr const char* kConv = "language_model.model.layers.*.linear_attn.conv1d.weight";

constexpr const char* kNorms[] = {
    "language_model.model.norm.weight",
    "language_model.model.layers.*.input_layernorm.weight",
    "language_model.model.layers.*.post_attention_layernorm.weight",
    "language_model.model.layers.*.self_attn.q_norm.weight",
    "language_model.model.layers.*.self_attn.k_norm.weight",
};
constexpr const char* kHeadNorms[] = {
    "mtp.pre_fc_norm_embedding.weight",
    "mtp.pre_fc_norm_hidden.weight",
    "mtp.norm.weight",
    "mtp.layers.*.input_layernorm.weight",
    "mtp.layers.*.post_attention_layernorm.weight",
    "mtp.layers.*.self_attn.q_norm.weight",
    "mtp.layers.*.self_attn.k_norm.weight",
};

// Names that become others. Of a tied head, which is sometimes stored a second time, either config
// value may speak.
constexpr TensorRule kNames[] = {
    {Kind::prefix, "language_model.mtp.", "mtp.", nullptr, nullptr},
    {Kind::prefix, "model.language_model.", "language_model.model.", nullptr, nullptr},
    {Kind::prefix, "model.visual.", "vision_tower.", nullptr, nullptr},
    {Kind::prefix, "visual.", "vision_tower.", nullptr, nullptr},
    {Kind::prefix, "model.", "language_model.model.", nullptr, nullptr},
    {Kind::prefix, "lm_head.", "language_model.lm_head.", nullptr, nullptr},
    {Kind::drop_tower, "vision_tower.**", nullptr, nullptr, nullptr},
    {Kind::drop, "language_model.lm_head.*", nullptr, nullptr, "tie_word_embeddings"},
    {Kind::drop, "language_model.lm_head.*", nullptr, nullptr, "text_config.tie_word_embeddings"},
};
constexpr TensorRule kHeadNames[] = {
    {Kind::prefix, "language_model.mtp.", "mtp.", nullptr, nullptr},
};

// Experts, fused or one by one.
constexpr TensorRule kExperts[] = {
    {Kind::split, "language_model.model.layers.*.mlp.experts.gate_up_proj",
     "language_model.model.layers.*.mlp.switch_mlp.gate_proj.weight",
     "language_model.model.layers.*.mlp.switch_mlp.up_proj.weight", nullptr},
    {Kind::rename, "language_model.model.layers.*.mlp.experts.down_proj",
     "language_model.model.layers.*.mlp.switch_mlp.down_proj.weight", nullptr, nullptr},
    {Kind::stack, "language_model.model.layers.*.mlp.experts.*.gate_proj.weight",
     "language_model.model.layers.*.mlp.switch_mlp.gate_proj.weight", nullptr, nullptr},
    {Kind::stack, "language_model.model.layers.*.mlp.experts.*.up_proj.weight",
     "language_model.model.layers.*.mlp.switch_mlp.up_proj.weight", nullptr, nullptr},
    {Kind::stack, "language_model.model.layers.*.mlp.experts.*.down_proj.weight",
     "language_model.model.layers.*.mlp.switch_mlp.down_proj.weight", nullptr, nullptr},
};
constexpr TensorRule kHeadExperts[] = {
    {Kind::split, "mtp.layers.*.mlp.experts.gate_up_proj",
     "mtp.layers.*.mlp.switch_mlp.gate_proj.weight", "mtp.layers.*.mlp.switch_mlp.up_proj.weight",
     nullptr},
    {Kind::rename, "mtp.layers.*.mlp.experts.down_proj",
     "mtp.layers.*.mlp.switch_mlp.down_proj.weight", nullptr, nullptr},
    {Kind::stack, "mtp.layers.*.mlp.experts.*.gate_proj.weight",
     "mtp.layers.*.mlp.switch_mlp.gate_proj.weight", nullptr, nullptr},
    {Kind::stack, "mtp.layers.*.mlp.experts.*.up_proj.weight",
     "mtp.layers.*.mlp.switch_mlp.up_proj.weight", nullptr, nullptr},
    {Kind::stack, "mtp.layers.*.mlp.experts.*.down_proj.weight",
     "mtp.layers.*.mlp.switch_mlp.down_proj.weight", nullptr, nullptr},
};

/// One rule of `kind` a name; see TensorRule::original.
template <std::size_t N>
std::vector<TensorRule> norms(const char* const (&names)[N], Kind kind, const char* original) {
  std::vector<TensorRule> rules;
  for (const char* name : names) rules.push_back({kind, name, name, nullptr, nullptr, original});
  return rules;
}

std::vector<TensorRule> join(std::initializer_list<std::span<const TensorRule>> tables) {
  std::vector<TensorRule> all;
  for (const auto& table : tables) all.insert(all.end(), table.begin(), table.end());
  return all;
}

std::vector<TensorRule> make_checkpoint_rules() {
  // In a file of the MLX layout nothing shows how a head that was put there stores its norms.
  return join({kNames, norms(kNorms, Kind::add_one, kConv), norms(kHeadNorms, Kind::add_one, kConv),
               norms(kHeadNorms, Kind::add_one_if_small, nullptr), kExperts, kHeadExperts});
}

std::vector<TensorRule> make_head_rules() {
  // Whoever writes the file copies norms as their authors store them.
  return join({kHeadNames, norms(kHeadNorms, Kind::add_one, nullptr), kHeadExperts});
}

// Where converters keep the tower.
constexpr const char* kTowerFiles[] = {"optiq_vision.safetensors"};
constexpr TensorRule kTowerNames[] = {
    {Kind::prefix, "model.visual.", "vision_tower.", nullptr, nullptr},
    {Kind::drop_tower, "vision_tower.**", nullptr, nullptr, nullptr},
};
constexpr const char* kHeadFiles[] = {"optiq/mtp.safetensors", "mtp.safetensors",
                                      "mtp/weights.safetensors", "model-mtp.safetensors"};

class Qwen3_5Architecture : public Architecture, public Sidecars, public ConvertedConfig {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return new Qwen3_5(config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    static const std::vector<TensorRule> rules = make_checkpoint_rules();
    return rules;
  }
  const void* extension(std::string_view interface_id) const override {
    if (const void* found = provide<Sidecars>(interface_id, *this)) return found;
    return provide<ConvertedConfig>(interface_id, *this);
  }
  std::span<const Sidecar> sidecars(std::string_view) const override {
    static const std::vector<TensorRule> rules = make_head_rules();
    static const Sidecar sidecars[] = {
        {"mtp.**", "mlx_lm_extra_tensors.mtp_file", kHeadFiles, "mtplx_mtp_quantization", rules,
         "mtp.layers.**"},
        {"vision_tower.**", nullptr, kTowerFiles, nullptr, kTowerNames}};
    return sidecars;
  }
  std::string changes(std::string_view, const Config& config,
                      std::span<const ConvertedSidecar> sidecars) const override {
    return converted_config(config, sidecars);
  }
};

const void* get(std::string_view id) {
  static const Qwen3_5Architecture architecture;
  return provide<Architecture>(id, architecture);
}

}  // namespace
}  // namespace quiver::qwen3_5

QUIVER_PLUGIN(quiver::qwen3_5::get, "arch-qwen3_5", "1.0.0", "Apache-2.0",
              "Qwen3.5 text models: gated delta rules and attention, dense or with experts",
              QUIVER_OFFER_ARCHITECTURE(
                  "qwen3_5", "Gated DeltaNet and full attention in turn, with a draft head",
                  "qwen3_5,qwen3_5_moe,qwen3_5_text,qwen3_5_moe_text", ""));
