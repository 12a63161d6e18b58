// The plugin sampler-canvas: fixes the positions of a canvas that the model is sure of.
#include <quiver/canvas_sampler.hpp>
#include <quiver/plugin.hpp>

#include <string>

namespace {

using quiver::CanvasStep;
using quiver::OptionKind;
using quiver::OptionSpec;

constexpr OptionSpec kConfidenceOptions[] = {
    {"threshold", "Least probability of a token that is kept", OptionKind::number, 0.5, 0, 1,
     nullptr},
};

/// Keeps every proposal of at least a given probability, and where there is none the likeliest (the
/// first among equals). Source: Wu et al., Fast-dLLM, arXiv 2505.22618, section 3.3.
class Confidence final : public quiver::CanvasSampler {
 public:
  explicit Confidence(const quiver::Options& options)
      : threshold_(static_cast<float>(options.number("threshold"))) {}

  bool is_sticky() const override { return true; }

  void decide(const CanvasStep& step, std::span<std::uint8_t> accept) const override {
    const std::size_t none = accept.size();
    std::size_t best = none;
    bool has_accepted = false;
    for (std::size_t i = 0; i < accept.size(); ++i) {
      const bool is_open = step.is_fixed[i] == 0;
      accept[i] = is_open && step.confidence[i] >= threshold_ ? 1 : 0;
      has_accepted = has_accepted || accept[i] != 0;
      if (is_open && (best == none || step.confidence[i] > step.confidence[best])) best = i;
    }
    if (!has_accepted && best != none) accept[best] = 1;
  }

 private:
  float threshold_;
};

class CanvasSamplers final : public quiver::CanvasSamplerFactory {
 public:
  std::span<const OptionSpec> options(std::string_view) const override {
    return kConfidenceOptions;
  }
  quiver::CanvasSampler* create(std::string_view offer,
                                const quiver::Options& options) const override {
    if (offer == "confidence") return new Confidence(options);
    throw quiver::Error(quiver::ErrorCode::usage,
                        "sampler-canvas offers no canvas sampler '" + std::string(offer) + "'", "",
                        "list what it offers with 'quiver plugins inspect sampler-canvas'");
  }
};

const void* get(std::string_view id) {
  static const CanvasSamplers samplers;
  return quiver::provide<quiver::CanvasSamplerFactory>(id, samplers);
}

}  // namespace

QUIVER_PLUGIN(get, "sampler-canvas", "1.0.0", "Apache-2.0",
              "Which positions of a canvas to fix in a denoising step",
              QUIVER_OFFER_CANVAS_SAMPLER("confidence",
                                          "Fixes what reaches a probability, at least one"));
