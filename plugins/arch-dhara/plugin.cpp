// The plugin arch-dhara.
#include <quiver/plugin.hpp>

#include "dhara.hpp"

namespace quiver::dhara {
namespace {

constexpr TensorRule kCheckpointRules[] = {
    // A tied head is sometimes stored a second time.
    {TensorRuleKind::drop, "lm_head.*", nullptr, nullptr, "tie_word_embeddings"},
};

class DharaArchitecture : public Architecture {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return new Dhara(config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    return kCheckpointRules;
  }
  const void* extension(std::string_view) const override { return nullptr; }
};

const void* get(std::string_view id) {
  static const DharaArchitecture architecture;
  return provide<Architecture>(id, architecture);
}

}  // namespace
}  // namespace quiver::dhara

QUIVER_PLUGIN(quiver::dhara::get, "arch-dhara", "1.0.0", "Apache-2.0",
              "dhara text models: autoregressive, block diffusion and self-speculation",
              QUIVER_OFFER_ARCHITECTURE(
                  "dhara", "Decoder with Canon convolutions that also predicts masked blocks",
                  "dhara_ar", ""));
