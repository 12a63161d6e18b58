// Describes the plugin and finds the sampler that was asked for.
#include <quiver/plugin.hpp>

#include "offer.hpp"

#include <array>
#include <string>

namespace {

using quiver::samplers::SamplerOffer;

const SamplerOffer& find_offer(std::string_view name) {
  using namespace quiver::samplers;
  const std::array groups = {filter_offers(), penalty_offers(), dry_offers(), chooser_offers()};
  for (const auto group : groups) {
    for (const SamplerOffer& offer : group) {
      if (offer.name == name) return offer;
    }
  }
  throw quiver::Error(quiver::ErrorCode::usage,
                      "sampler-standard offers no sampler '" + std::string(name) + "'", "",
                      "list what it offers with 'quiver plugins inspect sampler-standard'");
}

class StandardSamplers final : public quiver::SamplerFactory {
 public:
  std::span<const quiver::OptionSpec> options(std::string_view offer) const override {
    return find_offer(offer).options;
  }
  quiver::Sampler* create(std::string_view offer, const quiver::Options& options) const override {
    return find_offer(offer).create(options).release();
  }
};

const void* get(std::string_view id) {
  static const StandardSamplers samplers;
  return quiver::provide<quiver::SamplerFactory>(id, samplers);
}

}  // namespace

QUIVER_PLUGIN(
    get, "sampler-standard", "1.0.0", "Apache-2.0", "The usual filters, penalties and choices",
    QUIVER_OFFER_SAMPLER("temperature", "Divides all logits by a temperature"),
    QUIVER_OFFER_SAMPLER("top-k", "Keeps the k likeliest tokens"),
    QUIVER_OFFER_SAMPLER("top-p", "Keeps the likeliest tokens up to a probability mass"),
    QUIVER_OFFER_SAMPLER("min-p", "Drops tokens far less likely than the likeliest"),
    QUIVER_OFFER_SAMPLER("typical", "Keeps tokens about as surprising as the average"),
    QUIVER_OFFER_SAMPLER("top-n-sigma", "Keeps logits within n standard deviations of the largest"),
    QUIVER_OFFER_SAMPLER("xtc", "Now and then drops all likely tokens but the last"),
    QUIVER_OFFER_SAMPLER("dry", "Penalizes tokens that would continue a repetition"),
    QUIVER_OFFER_SAMPLER("repetition-penalty", "Scales down tokens that occurred lately"),
    QUIVER_OFFER_SAMPLER("presence-penalty",
                         "Lowers tokens that occurred lately by a fixed amount"),
    QUIVER_OFFER_SAMPLER("frequency-penalty", "Lowers tokens by an amount per recent occurrence"),
    QUIVER_OFFER_SAMPLER("logit-bias", "Adds given amounts to given tokens"),
    QUIVER_OFFER_SAMPLER("mirostat", "Draws with a steady surprise, version 1"),
    QUIVER_OFFER_SAMPLER("mirostat-v2", "Draws with a steady surprise, version 2"),
    QUIVER_OFFER_SAMPLER("draw", "Draws a token by its probability"),
    QUIVER_OFFER_SAMPLER("greedy", "Takes the likeliest token"));
