// The plugin arch-llama: one architecture for several model types of the family.
#include <quiver/plugin.hpp>

#include "gguf.hpp"
#include "llama.hpp"

namespace quiver::llama {
namespace {

constexpr TensorRule kCheckpointRules[] = {
    {TensorRuleKind::drop, "model.layers.*.self_attn.rotary_emb.inv_freq", nullptr, nullptr,
     nullptr},
    {TensorRuleKind::drop, "model.rotary_emb.inv_freq", nullptr, nullptr, nullptr},
    // A tied head is sometimes stored a second time.
    {TensorRuleKind::drop, "lm_head.*", nullptr, nullptr, "tie_word_embeddings"},
};

class LlamaArchitecture : public Architecture {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return new Llama(config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    return kCheckpointRules;
  }
  const void* extension(std::string_view interface_id) const override {
    return provide<GgufImport>(interface_id, gguf_);
  }

 private:
  LlamaGguf gguf_;
};

const void* get(std::string_view id) {
  static const LlamaArchitecture architecture;
  return provide<Architecture>(id, architecture);
}

}  // namespace
}  // namespace quiver::llama

QUIVER_PLUGIN(quiver::llama::get, "arch-llama", "1.0.0", "Apache-2.0",
              "Llama, Mistral, Qwen2 and Qwen3 text models",
              QUIVER_OFFER_ARCHITECTURE(
                  "llama", "Pre-norm decoder with grouped-query attention and gated MLP",
                  "llama,mistral,qwen2,qwen3", "llama,qwen2,qwen3"));
